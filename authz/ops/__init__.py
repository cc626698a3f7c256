"""What operators use: their port, metrics, the decision log, the policy file and its watcher.

Law: what fails here is reported, and the last good state stays; the log alone may stop checks (`audit.on_failure`).
"""
