"""Authentication: from credentials to an identity, or to a task's run.

Law: no I/O; a check that must wait is returned as a value (`authz.core.parked`).
"""
