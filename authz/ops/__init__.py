"""What operators use: their port, metrics, the decision log, the policy file and its watcher."""
