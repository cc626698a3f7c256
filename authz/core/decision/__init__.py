"""The decision: evaluate the policy for a request, its rights, its conditions, and explain it."""
