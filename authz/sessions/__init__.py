"""Revocations, recorded before they are promised, and back-channel logout."""
