"""Random small policies and requests, over so few names and patterns that they often meet.

`random.Random` and not hypothesis: ten thousand pairs of policies are drawn, and a failing one is named by its seed.
"""

import json

from authz.core.errors import PolicyError
from authz.core.model import Level, Plane, Request, Run
from authz.core.policy import Bundle, load

ISSUERS = """
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
"""
GROUPS = ["g0", "g1", "g2"]
DAGS = ["a", "b", "ab", "ba", "aba", "bab", "aab", "q"]
GLOBS = ["a*", "*a", "*b", "a", "ab", "*", "a*b", "*a*", "b*"]
OPERATIONS = ["dags:read", "dag_runs:create", "connections:delete", "dags:*", "*:read", "*", "tokens:create"]
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
    "/**",
]
HOSTS = ["a.example", "*.example", "*.b.example"]
DESTINATIONS = ["orders", "stock"]


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
    if plane == "inbound":
        if rng.random() < 0.7:
            made["operations"] = names(rng, OPERATIONS)
        if rng.random() < 0.3 or (not made.get("operations") and not made.get("deny")):
            made["paths"] = names(rng, PATHS)
        if rng.random() < 0.5:
            made["dags"] = names(rng, GLOBS)
    else:
        made |= {"hosts": names(rng, HOSTS)} if rng.random() < 0.4 else {}
        made |= {"destinations": names(rng, DESTINATIONS)} if rng.random() < 0.4 else {}
        made |= {"paths": names(rng, PATHS[:5])} if rng.random() < 0.3 else {}
        made |= {"dags": names(rng, GLOBS)} if rng.random() < 0.3 else {}
        made |= {"tasks": names(rng, GLOBS)} if rng.random() < 0.2 else {}
        if rng.random() < 0.2 and not made.get("deny"):
            made["identity"] = rng.choice(["asserted", "verified", "verified-bearer"])
            if rng.random() < 0.5:
                made.pop("roles", None)
    if rng.random() < 0.3:
        made["methods"] = names(rng, ["GET", "POST", "DELETE", "HEAD"])
    if plane == "egress" and rng.random() < 0.1:
        made["methods"] = ["CONNECT"]
        made.pop("paths", None)
    return made


def roles(rng):
    made = {f"r{n}": {"groups": names(rng, GROUPS)} for n in range(3)}
    if rng.random() < 0.3:
        made["r2"]["clients"] = ["c0"]
    if rng.random() < 0.3:
        made["r0"]["includes"] = ["r1"]
    return made


def policy(rng, plane, before=None):
    """A random policy that loads, often not far from the one before."""
    while True:
        if before is None or rng.random() < 0.3:
            made = {"roles": roles(rng), "rules": [rule(rng, n, plane) for n in range(rng.randint(1, 5))]}
        else:
            made = json.loads(json.dumps(before))
            for _ in range(rng.randint(1, 2)):
                at = rng.randrange(len(made["rules"]))
                if rng.random() < 0.4:
                    made["rules"][at] = rule(rng, 10 + at, plane)
                elif rng.random() < 0.3 and len(made["rules"]) > 1:
                    del made["rules"][at]
                else:
                    made["roles"] = roles(rng)
        ids = [r["id"] for r in made["rules"]]
        if len(set(ids)) < len(ids):
            continue
        data = (
            ISSUERS + json.dumps(made)[1:-1].replace('"roles":', "\nroles:", 1).replace(', "rules":', "\nrules:", 1)
        ).encode()
        try:
            return made, load(Bundle(data, "policy.yaml"))
        except PolicyError:
            continue


INBOUND_PATHS = [
    *("/api/v2/dags", "/api/v2/dags/~", "/api/v2/dags/{}", "/api/v2/dags/{}/dagRuns", "/api/v2/dags/~/dagRuns"),
    *("/api/v2/connections/{}", "/x", "/x/", "/x/{}", "/x/{}/{}", "/api/v2/version", "/auth/token", "/y"),
]
OUTBOUND_PATHS = ["/x", "/x/", "/x/a", "/x/b", "/x/a/b", "/y"]
OUTBOUND_HOSTS = ["a.example", "c.example", "x.b.example", "other"]


def requests(rng, plane, count):
    """Requests with the run that calls, which the policies often have rules about."""
    for _ in range(count):
        yield _inbound(rng) if plane is Plane.INBOUND else _outbound(rng)


def _inbound(rng):
    path = rng.choice(INBOUND_PATHS).replace("{}", rng.choice(DAGS), 1).replace("{}", rng.choice(DAGS))
    method = rng.choice(["GET", "POST", "DELETE", "HEAD", "PUT"])
    return _request(Plane.INBOUND, method, "h", path, narrowed=rng.random() < 0.5), None


def _outbound(rng):
    method = rng.choice(["GET", "POST", "DELETE", "HEAD", "CONNECT"])
    path = "" if method == "CONNECT" else rng.choice(OUTBOUND_PATHS)
    level = rng.choice([None, *Level])
    run = None if level is None else Run(rng.choice(DAGS), "r", rng.choice(DAGS), -1, 1, level)
    destination = rng.choice(["", *DESTINATIONS])
    return _request(Plane.EGRESS, method, rng.choice(OUTBOUND_HOSTS), path, destination=destination), run


def _request(plane, method, host, path, **more):
    segments = tuple(path[1:].split("/")) if path else ()
    return Request(plane=plane, method=method, host=host, port=None, path=path, segments=segments, **more)
