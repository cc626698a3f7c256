"""The decision: evaluates the policy for a request, derives its rights, and explains it."""
