"""Questions about all callers and all requests at once: who gains, who loses, who can.

Law: the engine answers. What is here finds the few requests and callers that stand for all others, asks
`decide.evaluate` about them, and reports nothing that it did not answer. In order:

1. `callers`: the sets of memberships that stand for all callers.
2. `space`, `regions`: the requests that a rule is about, as boxes of patterns; `upgrades`: those of two Airflows.
3. `points`: the request that stands for a whole region, and a real one for people to try.
4. `gains`, `diff`: the regions in which two policies answer differently; `boxes` says them without saying more.
5. `conditions`: what this rests on, and what rules do not show.
6. `access`: what callers may do under one policy; `places` says where not all of an operation is meant.
7. `lifeless`, `idle`: the rules of one policy that allow nothing, and those that change nothing; `others` of them do.

Why few are enough. A pattern that is inside a union of patterns is inside one of them: put a character that no pattern
holds for each `*` and `{x}`, and whatever matches that matches every other value too. Roles are a union over single
memberships, so a caller who gains something still gains it with two of their memberships: one for the allow rule, and
one for the deny rule that is gone.
"""
