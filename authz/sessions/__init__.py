"""Revocations, recorded before they are confirmed, and back-channel logout.

Law: a sign-out is answered only after it is recorded, on disk where `revocation.file` is set.
"""
