"""The pure core: from a request, its credentials and a policy to a decision, its record and its answer.

Law: no I/O, no clock, no thread, no log; time, keys and bytes are arguments. Unit tests alone reach every line and
branch.
"""
