"""Processes: wiring, ordered start and reverse stop; the supervisor and its workers."""
