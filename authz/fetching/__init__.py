"""One guarded HTTP client: the address is checked, one deadline covers all, the answer is bounded.

Law: every address is checked before it is connected to, and no proxy of the environment is used.
"""
