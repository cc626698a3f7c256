"""Random small policies and requests, over so few names and patterns that they often meet.

`random.Random` and not hypothesis: ten thousand pairs of policies are drawn, and a failing one is named by its seed.
"""

import json

from authz.core.errors import PolicyError
from authz.core.model import HeldGrant, Level, Plane, Request, Run
from authz.core.policy import Bundle, load
from authz.core.policy.outbound import in_tunnel
from authz.core.request.path import CONNECT

BOTH = {"inbound": ["airflow"], "egress": ["outbound"]}
AUDIENCES = [
    [BOTH],
    [{"inbound": ["airflow"]}],
    [{"egress": ["outbound"]}],
    [BOTH, BOTH],
    [{"inbound": ["airflow"]}, {"egress": ["outbound"]}],
]
ISSUERS = ["corp", "people"]
SUBJECTS = ["s0"]
CLIENTS = ["c0"]
GROUPS = ["g0", "g1", "g2"]
GRANTS = ["e0", "e1"]
DAGS = ["a", "b", "ab", "ba", "aba", "bab", "aab", "q"]
GLOBS = ["a*", "*a", "*b", "a", "ab", "*", "a*b", "*a*", "b*"]
OPERATIONS = [
    "dags:read",
    "dag_runs:create",
    "connections:delete",
    "connections:read",
    "dags:*",
    "*:read",
    "*:change",
    "*",
    "tokens:create",
]
PATHS = [
    "/x",
    "/x/**",
    "/x/{y}",
    "/x/a*",
    "/x/",
    "/api/v2/dags",
    "/api/v2/dags/{d}",
    "/api/v2/**",
    "/api/v2/dags/a*",
    "/api/v2/connections/enqueue-test",  # a route of its own below that of one connection
    "/**",
]
HOSTS = ["a.example", "*.example", "*.b.example"]
DESTINATIONS = ["orders", "stock"]


METHODS = ["GET", "POST", "DELETE", "HEAD"]
_INBOUND = {
    "operations": (0.7, OPERATIONS),
    "paths": (0.3, PATHS),
    "dags": (0.5, GLOBS),
    "hosts": (0.2, HOSTS),
    "methods": (0.3, METHODS),
}
_EGRESS = {
    "hosts": (0.6, HOSTS),
    "destinations": (0.4, DESTINATIONS),
    "paths": (0.5, [*PATHS[:5], "/**"]),
    "dags": (0.3, GLOBS),
    "tasks": (0.2, GLOBS),
    "methods": (0.3, METHODS),
}


def maybe(rng, conditions):
    """Some of these conditions, each as often as it says."""
    return {key: names(rng, words) for key, (often, words) in conditions.items() if rng.random() < often}


def names(rng, words, most=2):
    return sorted(rng.sample(words, rng.randint(1, most)))


def rule(rng, number, plane):
    kind = rng.random()
    made = {"id": f"r{number}", "plane": plane}
    if kind < 0.3:
        made["deny"] = True
    elif kind < 0.4 and plane == "inbound":
        return {**made, "public": True, "paths": names(rng, ["/x", "/api/v2/version", "/x/a"]), "methods": ["GET"]}
    if not made.get("deny") or rng.random() < 0.7:
        made["roles"] = names(rng, ["r0", "r1", "r2", "authenticated"])
    made |= maybe(rng, (_INBOUND if plane == "inbound" else _EGRESS))
    if not made.get("deny") and not made.keys() & {"operations", "paths", "hosts", "destinations"}:
        made |= {"paths": names(rng, PATHS)} if plane == "inbound" else {"destinations": names(rng, DESTINATIONS)}
    if plane == "egress" and not made.get("deny"):
        made.setdefault("paths", ["/**"])
        made |= of_runs(rng, made)
    if plane == "egress" and rng.random() < 0.1:
        made["methods"] = ["CONNECT"]
        made.pop("paths", None)
    return made


def of_runs(rng, made):
    """What makes a rule one about runs, and often one about runs alone."""
    if rng.random() < 0.65:
        return {}
    if rng.random() < 0.5:
        made.pop("roles", None)
    return {"identity": rng.choice(["asserted", "verified", "verified-bearer"])}


def roles(rng, issuers):
    made = {f"r{n}": {"groups": names(rng, GROUPS)} for n in range(3)}
    if rng.random() < 0.3:
        made["r2"]["clients"] = CLIENTS
    if rng.random() < 0.2:
        made["r0"] |= {"subjects": SUBJECTS}
    if rng.random() < 0.3:
        made["r0"]["includes"] = ["r1"]
    if rng.random() < 0.3:  # everyone of an issuer
        made["r1"] = {"issuers": names(rng, issuers, 1)}
    if rng.random() < 0.2:
        made["r2"]["issuers"] = names(rng, issuers, 1)
    return made


def grantable(rng, plane):
    """No entry, one or two: roles, what a rule allows, or both."""
    for name in GRANTS[: rng.choice([0, 0, 1, 2])]:
        approvers, longest = rng.choice(["none", ["authenticated"]]), rng.choice(["1h", "1d"])
        entry = {"id": name, "requesters": ["authenticated"], "approvers": approvers, "longest": longest}
        if rng.random() < 0.6:
            entry["roles"] = names(rng, ["r0", "r1", "r2"])
        if "roles" not in entry or rng.random() < 0.4:
            allowing = rule(rng, 0, plane)
            while allowing.keys() & {"deny", "public"} or "roles" not in allowing:
                allowing = rule(rng, 0, plane)
            entry = {**{key: value for key, value in allowing.items() if key not in {"id", "roles"}}, **entry}
        yield entry


def grant(rng, entry, name, until):
    """A grant of an entry as someone may hold it: a policy may permit such ones or not."""
    return HeldGrant(entry, name, until, rng.choice([3600, 3601]), is_approved=rng.random() < 0.5)


def issuers_of(rng):
    return [
        {"name": name, "issuer": f"https://{name}.example.com", "audiences": audiences, "algorithms": ["RS256"]}
        for name, audiences in zip(ISSUERS, rng.choice(AUDIENCES), strict=False)
    ]


def drawn(rng, plane):
    """A policy of a few rules."""
    issuers = issuers_of(rng)
    rules = [rule(rng, n, plane) for n in range(rng.randint(1, 5))]
    made = {"issuers": issuers, "roles": roles(rng, [one["name"] for one in issuers]), "rules": rules}
    return {**made, "grantable": [*grantable(rng, plane)]}


def changed(rng, plane, before):
    """The policy with one or two changes; half of them change only whom a rule is about."""
    made = json.loads(json.dumps(before))
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(made["rules"]))
        kind = rng.random()
        if rng.random() < 0.15:
            made["grantable"] = [*grantable(rng, plane)]
        elif kind < 0.3:
            made["rules"][at] = rule(rng, 10 + at, plane)
        elif kind < 0.5 and len(made["rules"]) > 1:
            del made["rules"][at]
        elif kind < 0.7:
            made["roles"] = roles(rng, [one["name"] for one in made["issuers"]])
        elif rng.random() < 0.3:
            made["rules"][at].pop("roles", None)
        else:
            made["rules"][at]["roles"] = names(rng, ["r0", "r1", "r2", "authenticated"])
    return made


def policy(rng, plane, before=None):
    """A random policy that loads, often not far from the one before, and with its issuers."""
    while True:
        if before is None:
            made = drawn(rng, plane)
        elif rng.random() < 0.2:
            made = {**drawn(rng, plane), "issuers": before["issuers"]}
        else:
            made = changed(rng, plane, before)
        ids = [r["id"] for r in made["rules"]]
        if len(set(ids)) < len(ids):
            continue
        try:
            return made, loaded(made)
        except PolicyError:
            continue


def text(made):
    """The policy file, with its sections in lines of their own."""
    return "version: 1\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in made.items())


def loaded(made):
    """The policy, compiled."""
    return load(Bundle(text(made).encode(), "policy.yaml"))


def near(rng, plane, count):
    """That many policies, most of them near the one before."""
    made, found = None, []
    for _ in range(count):
        made, loaded = policy(rng, plane, made)
        found.append(loaded)
    return found


INBOUND_PATHS = [
    *("/api/v2/dags", "/api/v2/dags/~", "/api/v2/dags/{}", "/api/v2/dags/{}/dagRuns", "/api/v2/dags/~/dagRuns"),
    *(
        "/api/v2/connections/{}",
        "/api/v2/connections/enqueue-test",
        "/x",
        "/x/",
        "/x/{}",
        "/x/{}/{}",
        "/api/v2/version",
        "/auth/token",
        "/y",
    ),
]
OUTBOUND_PATHS = ["/x", "/x/", "/x/a", "/x/b", "/x/a/b", "/y"]
OUTBOUND_HOSTS = ["a.example", "x.b.example", "other"]


def requests(rng, plane, count):
    """Requests with the run that calls, which the policies often have rules about."""
    for _ in range(count):
        yield _inbound(rng) if plane is Plane.INBOUND else _outbound(rng)


def _inbound(rng):
    path = rng.choice(INBOUND_PATHS).replace("{}", rng.choice(DAGS), 1).replace("{}", rng.choice(DAGS))
    method = rng.choice(["GET", "POST", "DELETE", "HEAD", "PUT"])
    host = rng.choice(["h", *OUTBOUND_HOSTS])
    return _request(Plane.INBOUND, method, host, path, narrowed=rng.random() < 0.5), None


def _outbound(rng):
    method = rng.choice(["GET", "POST", "DELETE", "HEAD", CONNECT])
    path = "" if method == CONNECT else rng.choice(OUTBOUND_PATHS)
    level = rng.choice([None, *Level])
    level = in_tunnel(level) if method == CONNECT else level
    run = None if level is None else Run(rng.choice(DAGS[:4]), "r", rng.choice(DAGS[:4]), -1, 1, level)
    destination = rng.choice(["", *DESTINATIONS])
    return _request(Plane.EGRESS, method, rng.choice(OUTBOUND_HOSTS), path, destination=destination), run


def _request(plane, method, host, path, **more):
    segments = tuple(path[1:].split("/")) if path else ()
    return Request(plane=plane, method=method, host=host, port=None, path=path, segments=segments, **more)
