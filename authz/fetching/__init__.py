"""One guarded HTTP client: the address is checked, one deadline covers all, the answer is bounded."""
