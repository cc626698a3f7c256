"""Who asks: from credentials to an identity, or to a run of a task.

Law: no I/O; what has to wait is returned as a value (`authz.core.parked`).
"""
