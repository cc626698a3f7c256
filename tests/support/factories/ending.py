"""Small policies in which things end, and the same policies written by somebody at a time, without what has ended."""

import json

from authz.core.documents.moments import moment_text

T0 = 1_800_000_000
TIMES = [T0, T0 + 60, T0 + 61, T0 + 3600]
KINDS = ("groups", "clients", "subjects")
NO_ONE = "no one has this group"


def with_ends(rng, made):
    """The policy with ends here and there, and for each list of members who is in it until when."""
    made = json.loads(json.dumps(made))
    for rule in made["rules"]:
        if rng.random() < 0.5:
            rule["until"] = moment_text(rng.choice(TIMES))
    for role in made["roles"].values():
        for kind in KINDS:
            if kind in role:
                role[kind] = [
                    {"name": name, "until": moment_text(rng.choice(TIMES))} if rng.random() < 0.5 else name
                    for name in role[kind]
                ]
        if rng.random() < 0.3:
            role["issuers"] = [made["issuers"][0]["name"]]
    return made


def by_hand(made, now):
    """The same policy, written at that time by somebody who removes what has ended."""
    over = {moment_text(time) for time in TIMES if time <= now}
    made = json.loads(json.dumps(made))
    made["rules"] = [rule for rule in made["rules"] if rule.pop("until", None) not in over]
    for role in made["roles"].values():
        had = any(kind in role for kind in KINDS)
        for kind in KINDS:
            left = [
                member["name"] if isinstance(member, dict) else member
                for member in role.get(kind, ())
                if not (isinstance(member, dict) and member["until"] in over)
            ]
            role.pop(kind, None)
            if left:
                role[kind] = left
        if had and not any(kind in role for kind in KINDS):
            role["groups"] = [NO_ONE]
    return made
