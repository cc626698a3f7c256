"""Processes: everything is wired here, started in order and stopped in reverse; the supervisor and its workers."""
