"""The corpus: every route of a catalogue with every trick of security.md d-01 … d-06 that a path can hold."""

import random

VALUES = [
    "x", "~", "a.b", "manual__2026-01-01T00:00:00+00:00", "manual__2026-01-01T00%3A00%3A00%2B00%3A00", "a%2Fb", "a/b",
    "%64ags", "a%20b", "a;b", "a%3Bb", "100%25", "%C3%A9", "a%3Fb", "a%23b", "..x", "...", "-1", "%7E", "{dag_id}",
    "a%2F", "", "A", "x%0a", "..", "%2e%2e", "%252e", "x%00", "x\\", "%5c", "%2F", "%ff", "x#y", "list%2F", "..;",
    "x//y", "x%2f..%2fy", "auth%2Ftoken",
]  # fmt: skip
FIXED = [
    "/", "//", "/api", "/api/", "/api/v2", "/api/v2/", "/api%2Fv2%2Fdags", "/api/v2%2Fdags", "/%61pi/v2/dags",
    "/API/v2/dags", "/api/v2/dags/", "/api/v2/dags//", "/api/v2/dags%0a", "/api/v2/connections%0a",
    "/api/v2/connections%0d%0a", "/api/v2/dags;x", "/api/v2/dags%20", "/api/v2/dags.",
    "/api/v2/dags?x=/api/v2/version", "/api/v2/dags%3Fx", "/api/v2/version?/../dags",
    "/api/v2/monitor/health/../../dags", "/api/v2/monitor/%2e%2e/dags", "/api/v2/pools/..%2fconnections",
    "/api/v2/pools/", "/api/v2/variables/", "/api/v2/variables//", "/execution", "/execution/", "/execution/health",
    "/execution%2Fhealth", "/auth", "/auth/", "/auth/token", "/auth/token/", "/auth/token/login", "/auth/token/cli",
    "/auth%2Ftoken", "/auth/%74oken", "/auth/login", "/ui/auth/token", "/ui/auth%2Ftoken", "/ui/auth/token/",
    "/ui/auth/me", "/static", "/static/", "/static/x", "/static%2Fx", "/docs", "/docs/", "/redoc", "/openapi.json",
    "/openapi%2Ejson", "/openapiXjson", "/health", "/dags", "/dags/", "/dags/x/runs/y", "/dagsX", "/plugin",
    "/plugin/", "/plugin/x", "/api/v1/dags", "*", "http://x/api/v2/dags",
    "/api/v2/dags/~/dagRuns/~/taskInstances/list",
]  # fmt: skip


def fill(template, values):
    """A path from a template: its parameters, in turn, from `values`."""
    turn = iter(values)
    return "/".join(next(turn) if segment.startswith("{") else segment for segment in template.split("/"))


def neighbours(templates):
    """For each template and place: the words that other templates have there, after segments that may be the same."""
    split = [template.split("/") for template in templates]

    def same(one, other):
        return all(a == b or "{" in a or "{" in b for a, b in zip(one, other, strict=True))

    for template in split:
        for place, segment in enumerate(template):
            if "{" in segment:
                words = {
                    other[place] for other in split if len(other) > place and same(template[:place], other[:place])
                }
                yield "/".join(template), sorted(word for word in words if "{" not in word)


def targets(catalogue):
    """Every template with every tricky value in every place, and with the literals of its neighbours as values."""
    chance = random.Random(20261121)  # noqa: S311 the same paths in every run
    templates = sorted({route.template for operation in catalogue.operations.values() for route in operation.routes})
    literals = sorted({word for template in templates for word in template.split("/") if "{" not in word})
    result = list(FIXED)
    near = {template: [] for template in templates}
    for template, words in neighbours(templates):
        near[template].append(words)
    for template in templates:
        places = template.count("{")
        plain = ["x"] * places
        result += [
            fill(template, plain),
            fill(template, plain) + "/",
            fill(template, plain) + "X",
            "/" + fill(template, plain),
        ]
        result += [fill(template, plain).replace("/", "%2F", 3).replace("%2F", "/", 1), fill(template, plain).upper()]
        for place in range(places):
            for value in VALUES + near[template][place]:
                result.append(fill(template, [*plain[:place], value, *plain[place + 1 :]]))
        for _ in range(8 * (places > 1)):
            result.append(fill(template, [chance.choice(VALUES + literals) for _ in plain]))
    return list(dict.fromkeys(result))
