"""What a cache returns is what would be computed, and docs/caches.md knows every cache on the path of a check.

The larger caches have property tests of their own; the page names them.
"""

import random
import re
from pathlib import Path

import pytest

from authz.check.wire import request as wire_request
from authz.check.wire import response as wire_response
from authz.core.decision.decide import evaluate
from authz.core.edge import IDENTITY_HEADERS
from authz.core.errors import AuthzError
from authz.core.request import path
from authz.core.runs import proof
from authz.core.tokens import compact
from tests.support.factories.policies import claims, load, narrowing, request
from tests.support.factories.proofs import prove, task_key, thumbprint
from tests.support.factories.tokens import access_claims, make_key, sign

ROOT = Path(__file__).parents[3]
CACHE = re.compile(r"@cache\b|lru_cache\(|\bLRUCache\(|\bSecondChance\(|\bself\._(?:known|questions)\b")
ELSEWHERE = {
    "core.caching.clock_cache": "the cache itself",
    "core.cases.compile": "the policy's tests, at load",
    "core.cases.questions": "the policy's tests, at load",
    "core.lint.ends": "lint",
    "core.lint.review": "lint",
    "core.lint.slips": "lint",
    "core.policy.operations": "at load",
    "core.policy.reach": "lint",
    "core.proof.asked": "the prover",
    "core.proof.space": "the prover",
    "core.proof.upgrades": "the prover",
    "core.proof.never": "the invariants of the policy, at load",
    "core.traffic.evaluating": "the replay of a log",
}
ON_THE_PATH = {"authn", "check", "core", "runs"}
TOKEN = sign(access_claims(), make_key("ES256"))
HEADS = [token.partition(".")[0].encode() for token in (TOKEN, sign(access_claims(), make_key("RS256", kid="two")))]
HOSTS = ["a.test", "A.test:80", "[::1]:443", "127.1", "a.test.", "x" * 300, "a.test:99999", "é.test", "", "0x7f.1"]
PATHS = ["/oauth2/signout", "/", "", "//x", "/a/../b", "/x?y", "nothing"]
REMOVED = [(False,), (True,), (False, *IDENTITY_HEADERS), (True, *sorted(IDENTITY_HEADERS)[:2])]
FUNCTIONS = [
    pytest.param(compact._remembered_header, compact._header, [*HEADS, b"", b"e30", b"!", HEADS[0][:-1]], id="header"),
    pytest.param(proof._remembered_signer, proof._signer, [*HEADS, b"", b"e30"], id="signer of what is no proof"),
    pytest.param(path.canonical_host, path.canonical_host.__wrapped__, HOSTS, id="host"),
    pytest.param(wire_response._removing, wire_response._removing.__wrapped__, REMOVED, id="headers that are removed"),
    pytest.param(wire_request._path, wire_request._path.__wrapped__, PATHS, id="path that Envoy names"),
]
RULES = """{id: one, plane: inbound, roles: [viewer], operations: ["dags:read", "dag_runs:read"], dags: ["s_*", "x"]}
{id: two, plane: inbound, roles: [user], operations: ["dags:read"], dags: ["*_a"]}
{id: all, plane: inbound, roles: [op], operations: ["*"]}
{id: not-these, deny: true, roles: [user], dags: ["secret_*"]}"""
TARGETS = [
    "/api/v2/dags",
    "/api/v2/dags/s_a",
    "/api/v2/dags/x/dagRuns",
    "/api/v2/dags/~/dagRuns",
    "/api/v2/pools",
    "/x",
]
GROUPS = ["data-readers", "data-users", "data-ops", "data-admins", "other"]


def outcome(function, value):
    try:
        return function(value)
    except (AuthzError, ValueError) as error:
        return type(error), str(error)


@pytest.mark.parametrize(("remembers", "computes", "values"), FUNCTIONS)
def test_what_is_remembered_is_what_is_computed(remembers, computes, values):
    remembers.cache_clear()
    expected = [outcome(computes, value) for value in values]
    for _ in range(2):
        assert [outcome(remembers, value) for value in values] == expected
    assert all(hash(value) is not None for value in expected), "nobody can change what all get"


def test_the_signer_of_a_proof_is_remembered_by_its_bytes():
    keys = [task_key(), task_key()]
    heads = [prove(key, TOKEN).partition(b".")[0] for key in keys]
    for _ in range(2):
        for head, key in zip(heads, keys, strict=True):
            found, name = proof._remembered_signer(head)
            computed, again = proof._signer(head)
            assert (found.public_numbers(), name) == (computed.public_numbers(), again)
            assert name == thumbprint(key)


@pytest.mark.parametrize("seed", range(5))
def test_a_policy_that_has_decided_a_lot_decides_like_a_new_one(seed):
    chance = random.Random(seed)  # noqa: S311 reproducible
    warm = narrowing(load(RULES))
    for _ in range(25):
        asked = request(chance.choice(["GET", "POST"]), chance.choice(TARGETS), narrowed=chance.random() < 0.5)
        token = claims(groups=chance.sample(GROUPS, chance.randrange(len(GROUPS))))
        fresh = narrowing(load(RULES))
        assert warm.identify(token) == fresh.identify(token)
        assert evaluate(asked, warm.identify(token), warm) == evaluate(asked, fresh.identify(token), fresh)


def test_the_page_names_every_cache():
    text = (ROOT / "docs" / "caches.md").read_text()
    named = set(re.findall(r"^\| `([a-z_.]+)`", text, re.MULTILINE))
    found = set()
    for file in (ROOT / "authz").rglob("*.py"):
        parts = file.relative_to(ROOT / "authz").with_suffix("").parts
        if parts[0] in ON_THE_PATH and CACHE.search(file.read_text()):
            found.add(".".join(part for part in parts if part != "__init__"))
    assert found - set(ELSEWHERE) <= named, found - named
    tests = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert [test for test in tests if not (ROOT / test).exists()] == []
