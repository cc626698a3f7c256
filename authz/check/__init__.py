"""One check: a `CheckRequest` in, a recorded `CheckResponse` out.

Law: nothing here blocks; an answer is given after its record is accepted, or as `audit.on_failure` says; a bug answers
503.
"""
