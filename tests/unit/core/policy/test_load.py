import gc
import hashlib
import tracemalloc

import pytest

from authz.core import catalogue, policy
from authz.core.documents.wording import Mistake
from authz.core.errors import PolicyError
from authz.core.model import Issuer, Plane
from authz.core.policy import Effect
from authz.core.policy.schema import url_scheme
from tests.support.factories.policies import ISSUER, ISSUERS, load, text


def test_an_issuer_with_everything():
    loaded = load(
        issuers="""
  - name: corp
    issuer: urn:corp
    audiences: {inbound: [a, b], egress: [c]}
    algorithms: [ES256]
    max_lifetime: 15m
    clock_skew: 1m
    username: preferred_username
    full_name: display_name
    groups: [groups, realm_access.roles, "https://example.com/groups"]
    tokens: [access, id]
    jwks_file: keys/corp.json
    insecure_http: true
"""
    )
    assert loaded.issuers == {
        "urn:corp": Issuer(
            name="corp",
            issuer="urn:corp",
            audiences={Plane.INBOUND: frozenset({"a", "b"}), Plane.EGRESS: frozenset({"c"})},
            algorithms=frozenset({"ES256"}),
            max_lifetime=900,
            clock_skew=60,
            username="preferred_username",
            full_name="display_name",
            groups=(("groups",), ("realm_access", "roles"), ("https://example.com/groups",)),
            tokens=frozenset({"access", "id"}),
            discovery=False,
            jwks_file="keys/corp.json",
            insecure_http=True,
        )
    }


def test_an_issuer_with_defaults():
    issuer = load().issuers[ISSUER]
    assert (issuer.max_lifetime, issuer.clock_skew, issuer.username, issuer.full_name) == (3600, 30, "sub", "name")
    assert (issuer.tokens, issuer.discovery, issuer.jwks_uri, issuer.jwks_file) == ({"access"}, True, None, None)


def test_a_plane_without_audience_is_absent():
    lines = ISSUERS.replace(", egress: [airflow-egress]", "")
    assert load(issuers=lines).issuers[ISSUER].audiences == {Plane.INBOUND: frozenset({"airflow"})}


def test_a_key_file_is_relative_to_the_policy():
    data = text(issuers=ISSUERS + "    jwks_file: keys.json\n").encode()
    assert (
        policy.load(policy.Bundle(data, "/etc/authz/policy.yaml")).issuers[ISSUER].jwks_file == "/etc/authz/keys.json"
    )


def test_keys_may_come_from_an_address():
    issuer = load(issuers=ISSUERS + "    jwks_uri: http://localhost:9000/keys\n").issuers[ISSUER]
    assert (issuer.discovery, issuer.jwks_uri) == (False, "http://localhost:9000/keys")


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("https://idp.example.com", "https"), ("https://idp.example.com:8443/realms/a_b-c/", "https"),
        ("http://idp.example.com", "http"), ("http://127.0.0.1:9000", "loopback"), ("http://localhost", "loopback"),
        ("http://[::1]:1", "loopback"), ("https://localhost", "https"), ("http://127.0.0.1.evil.test", "http"),
        ("http://localhost.evil.test", "http"), ("https://[2001:db8::1]/x", "https"),
    ],
)  # fmt: skip
def test_schemes(url, scheme):
    assert url_scheme(url) == scheme


@pytest.mark.parametrize(
    "url",
    [
        "", "idp.example.com", "ftp://a", "https://", "https://a b", "https://u@a", "https://u:p@a", "https://a?b",
        "https://a/#b", "https://a/?b", "HTTPS://a", "https://a:x", "https://a:123456", "https:/a", "https://a\n",
        "https://a/ü", "https://a\\b", "http://[::1", "//a",
    ],
)  # fmt: skip
def test_what_is_no_address(url):
    with pytest.raises(Mistake) as caught:
        url_scheme(url)
    assert not url or url not in caught.value.message


def test_http_with_its_setting():
    lines = ISSUERS.replace("https:", "http:") + "    insecure_http: true\n"
    assert load(issuers=lines).issuers[ISSUER.replace("https:", "http:")].insecure_http


def test_rules_are_kept_by_id_in_order_with_their_places():
    loaded = load(
        """{id: b, plane: inbound, roles: [viewer], operations: ["*:*", "dags:read"], description: all}
{id: a, deny: true, methods: [DELETE]}
{id: c, public: true, methods: [GET], paths: [/api/v2/version]}"""
    )
    assert list(loaded.rules) == ["a", "b", "c"]
    a, b, c = loaded.rules.values()
    assert (a.effect, a.planes, a.methods, a.line, a.column) == (Effect.DENY, set(Plane), ("DELETE",), 17, 5)
    assert (b.effect, b.planes, b.roles, b.operations) == (
        Effect.ALLOW,
        {Plane.INBOUND},
        ("viewer",),
        ("*", "dags:read"),
    )
    assert (c.effect, c.planes, b.description) == (Effect.PUBLIC, {Plane.INBOUND}, "all")


def test_roles_are_kept_with_their_places():
    loaded = load()
    assert loaded.roles["op"].includes == {"op", "user", "viewer"}
    assert loaded.roles["copilot"].agent
    assert (loaded.roles["viewer"].line, loaded.roles["viewer"].column) == (9, 3)


def test_the_revision_is_the_digest_of_the_bytes():
    data = text().encode()
    assert policy.load(policy.Bundle(data, "a")).revision == hashlib.sha256(data).hexdigest()
    assert policy.load(policy.Bundle(data, "b")).revision != policy.load(policy.Bundle(data + b"\n", "b")).revision


def test_the_catalogue_is_the_newest_unless_it_is_named():
    assert load().catalogue is catalogue.load(catalogue.versions()[-1])
    assert load(top='version: 1\nairflow: "3.3"').catalogue is catalogue.load("3.3")


def test_a_policy_without_rules_and_roles_is_valid():
    loaded = policy.load(policy.Bundle(f"version: 1\nissuers:{ISSUERS}rules: []\n".encode(), "p"))
    assert (dict(loaded.rules), dict(loaded.roles)) == ({}, {})


def test_what_roles_are_to_airflow():
    loaded = load(
        """{id: a, plane: inbound, roles: [sales-etl, authenticated], operations: [dags:read, dag_runs:create]}
{id: b, plane: inbound, roles: [sales-etl], operations: [connections:read]}
{id: c, plane: inbound, roles: [viewer], operations: ["*"]}
{id: d, plane: inbound, roles: [boss], paths: [/api/v2/dags]}
{id: e, deny: true, roles: [boss], operations: ["*"]}""",
        roles="""
  viewer: {groups: [v]}
  sales-etl: {clients: [sales-etl]}
  named: {groups: [n], airflow: admin}
  boss: {groups: [b]}
""",
    )
    assert loaded.airflow_roles == {
        "viewer": "viewer",  # its own name wins over what its rules grant
        "sales-etl": "op",
        "authenticated": "user",
        "named": "admin",
    }


def test_a_broken_file_raises_every_problem_sorted():
    with pytest.raises(PolicyError) as caught:
        load("{id: a, plane: inbound, roles: [nobody], operations: [dags:raed]}\n{id: a, deny: true}")
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [
        (16, 37),
        (16, 59),
        (17, 5),
        (17, 10),
    ]


def test_a_role_that_could_not_be_read_does_not_cause_more_problems():
    with pytest.raises(PolicyError) as caught:
        load(roles="\n  a: {groups: wrong, includes: [b]}\n  b: {description: by a}\n  c: 3\n")
    assert [problem.line for problem in caught.value.problems] == [9, 11]


def test_an_issuer_that_could_not_be_read_does_not_cause_more_problems():
    with pytest.raises(PolicyError) as caught:
        load(issuers="\n  - 3\n  - {jwks_uri: 4}\n", roles="\n  a: {groups: [x], issuers: [corp]}\n")
    found = [(problem.line, problem.message) for problem in caught.value.problems]
    assert [line for line, _ in found] == [3, 4, 4, 4, 4, 4]
    assert not [message for _, message in found if "unknown issuer" in message]


def test_policies_are_equal_only_by_what_they_say_and_hide_their_tables():
    assert "roster" not in repr(load())
    assert len(repr(load())) < 1000


def test_a_rule_for_both_planes_says_enough_for_both():
    rule = load("{id: x, roles: [viewer], hosts: [a.test], paths: [/x]}").rules["x"]
    assert rule.planes == set(Plane)


def test_a_public_rule_may_be_for_one_host():
    rule = load("{id: x, public: true, hosts: [a.test, b.test], methods: [GET], paths: [/x]}").rules["x"]
    assert [host.text for host in rule.hosts] == ["a.test", "b.test"]


# --- what ten thousand rules weigh


def many(count):
    """Rules of every kind, none like another."""
    for number in range(count):
        who = "plane: inbound, roles: [viewer]"
        yield f"{{id: deny{number}, deny: true, {who}, paths: [/api/v2/dags/team{number}/**]}}"
        yield f'{{id: dag{number}, {who}, operations: ["dag_runs:read"], dags: ["team{number}_*"]}}'
        yield f'{{id: item{number}, {who}, methods: [GET], paths: ["/t{number}/items/{{id}}"]}}'


@pytest.mark.full
def test_a_rule_is_kept_small_and_so_is_what_loading_it_takes():
    count = 1_000
    data = text("\n".join(many(count))).encode()
    load(next(many(1)))  # the catalogue, and whatever else is made once
    gc.collect()
    tracemalloc.start()
    try:
        loaded = policy.load(policy.Bundle(data, "policy.yaml"))
        gc.collect()
        weight, peak = (size / len(loaded.rules) for size in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert len(loaded.rules) == 3 * count
    assert weight < 1_050, f"{weight:.0f} bytes for each rule"
    assert peak < 1_800, f"{peak:.0f} bytes for each rule while loading"


def test_a_policy_that_is_replaced_is_freed_at_once():
    """Nothing in it refers back to itself: its megabytes do not wait for the garbage collector."""
    loaded = load("\n".join(many(3)))
    gc.collect()
    assert loaded.rules
    gc.set_debug(gc.DEBUG_SAVEALL)  # keep what is found: other threads of the process leave garbage too
    try:
        del loaded
        gc.collect()
        found = [type(one) for one in gc.garbage if type(one).__module__.startswith("authz.")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert found == []
