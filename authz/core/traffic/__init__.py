"""What a policy decides about the traffic of a decision log, and what of its rights the traffic used.

Law: pure, and it never guesses. Every line is counted exactly once: as a decision that is the same or another one, as a
record that cannot be evaluated again, with its `Gap`, or as a line that is no decision. Each decision is the engine's
own (`authz.core.replay`). What was evaluated once is remembered, so memory does not grow with the log.
"""
