"""security.md d-26: everything that a caller without a token reaches, listed in a golden file.

A change of that list must be wanted: `python -m tests.attacks.test_anonymous_surface` writes the file anew.
"""

import string
from pathlib import Path

import pytest

import demo
from authz.core import policy
from authz.core.decision import decide
from authz.core.model import Allow, Plane, Request
from authz.core.reasons import Reason
from authz.core.request.path import canonicalise
from tests.attacks.route_oracle import all_routes

GOLDEN = Path(__file__).with_name("anonymous_surface.txt")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
BESIDE = ("/", "/api", "/api/v2", "/nothing", "/v1/orders", "/v1/orders/7", "/monitor/health", "/api/v2/monitor")


def sample_policy(issuer="https://idp.example"):
    """The policy of the demo, which is the one in the documentation."""
    text = Path(demo.__file__).with_name("policy.yaml").read_text()
    return policy.load(policy.Bundle(string.Template(text).substitute(issuer=issuer).encode(), "policy.yaml"))


def asked(plane, method, target, host="gate.test"):
    path = canonicalise(target)
    return Request(plane=plane, method=method, host=host, port=None, path=path.path, segments=path.segments)


def paths():
    return [*dict.fromkeys([path for _, path, _, _ in all_routes()]), *BESIDE]


def surface():
    """Lines `plane method path rule` of what is allowed to nobody in particular."""
    rules = sample_policy()
    for plane, host in ((Plane.INBOUND, "gate.test"), (Plane.EGRESS, "orders.internal")):
        for path in paths():
            for method in METHODS:
                decision = decide.evaluate(asked(plane, method, path, host), None, rules)
                if isinstance(decision, Allow):
                    yield f"{plane} {method} {path} {decision.rule}"


def test_d26_the_anonymous_surface_is_the_one_that_was_agreed_on():
    assert list(surface()) == GOLDEN.read_text().splitlines()


def test_d26_every_other_route_denies_an_anonymous_caller_for_no_token():
    rules, allowed = sample_policy(), set(surface())
    asked_for = 0
    for path in paths():
        for method in METHODS:
            if any(line.startswith(f"inbound {method} {path} ") for line in allowed):
                continue
            decision = decide.evaluate(asked(Plane.INBOUND, method, path), None, rules)
            assert decision.reason is Reason.NO_TOKEN, f"{method} {path}"
            asked_for += 1
    assert asked_for > 1000


@pytest.mark.parametrize("line", GOLDEN.read_text().splitlines())
def test_d26_a_public_route_is_public_to_the_letter(line):
    plane, method, path, _rule = line.split()
    rules = sample_policy()
    near = [f"{path}/", f"{path}x", path[:-1], f"{path};x", path.upper(), f"{path}/x", f"{path}%3F", f"/x{path}"]
    for other in near:
        decision = decide.evaluate(asked(Plane(plane), method, other), None, rules)
        assert decision.reason is Reason.NO_TOKEN, other
    for host in ("gate.test", "other.test", "orders.internal"):
        assert isinstance(decide.evaluate(asked(Plane(plane), method, path, host), None, rules), Allow)


def test_d26_the_routes_are_all_there():
    assert len(list(all_routes())) > 190


if __name__ == "__main__":
    GOLDEN.write_text("".join(f"{line}\n" for line in surface()))
