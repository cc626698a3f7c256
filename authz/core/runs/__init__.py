"""Run identity: the claims, tokens and proofs with which a task identifies its run."""
