"""Processes: wiring, ordered start and reverse stop; the supervisor and its workers.

Law: only this room builds the parts and connects them.
"""
