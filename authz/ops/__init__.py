"""What operators touch: the port for them, metrics, the decision log, the policy file and its watcher."""
