"""Run identity: the words, tokens and proofs by which a task says which run it is."""
