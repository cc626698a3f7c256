"""d-26, d-32, d-33, d-34, d-40 against the policy: exemptions, loader attacks, patterns, slips, ways out."""

import ast
import itertools
import re
import resource
import time
from pathlib import Path

import pytest

import authz
from authz.core import catalogue, policy
from authz.core.decision.decide import evaluate
from authz.core.documents import yaml_document
from authz.core.errors import PolicyError, RequestError
from authz.core.model import Allow, DagGrant, Deny, HttpRequest
from authz.core.policy.patterns import parse_glob, parse_path
from authz.core.policy.rule_schema import RuleEntry
from authz.core.policy.tables import GlobTable, PathTable
from authz.core.reasons import Reason
from authz.core.request.canonical import canonical
from tests.support.factories.policies import caller, identity, load, narrowing, request, text

ROOT = Path(authz.__file__).parent
SOURCES = [
    path
    for path in ROOT.rglob("*.py")
    if "policy" in path.relative_to(ROOT).parts
    or path.name in {"yamlfile.py", "decide.py", "conditions.py", "explain.py", "review.py", "rights.py", "ways_out.py"}
]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def refused(data):
    with pytest.raises(PolicyError) as caught:
        policy.load(policy.Bundle(data if isinstance(data, bytes) else data.encode(), "policy.yaml"))
    return caught.value.problems


# d-26: health, user agent and static exemptions


def test_d26_a_rule_knows_no_header_address_or_user_agent():
    """An exemption by something that the caller sends or chooses cannot be written down."""
    assert set(RuleEntry.model_fields) == {
        "id", "description", "deny", "public", "plane", "roles", "operations", "hosts", "methods", "paths", "dags",
        "destinations", "tasks", "identity", "until",
    }  # fmt: skip
    for key in ("headers", "user_agent", "source", "ip", "query", "when", "cookies", "skip_auth"):
        [problem] = refused(text(f"{{id: x, public: true, methods: [GET], paths: [/a], {key}: [x]}}"))
        assert problem.message == f"unknown key `{key}`"


@pytest.mark.parametrize(
    "rule",
    [
        'public: true, methods: [GET], paths: ["/health*"]', 'public: true, methods: [GET], paths: ["/static/**"]',
        'public: true, methods: [GET], paths: ["/{any}"]', 'public: true, methods: [GET], paths: ["/**"]',
        "public: true, paths: [/health]", "public: true, methods: [GET]",
        "public: true, plane: egress, operations: [health:read]",
        'public: true, operations: ["*"]', 'public: true, operations: ["health:*"]',
        "public: true, operations: [dags:read]",
        "public: true, operations: [tokens:create]", "public: true, operations: [execution:call]",
        'public: true, methods: [GET], paths: [/a], hosts: ["*.internal"]',
        "public: true, methods: [GET], paths: [/a], roles: [viewer]",
        "public: true, roles: [authenticated], operations: [health:read]",
    ],
)  # fmt: skip
def test_d26_a_public_rule_is_an_exact_path_and_method(rule):
    assert refused(text(f"{{id: x, {rule}}}"))


def test_d26_what_an_anonymous_caller_reaches_is_exactly_what_was_written():
    loaded = load(
        """{id: health, public: true, methods: [GET], paths: [/api/v2/monitor/health]}
{id: version, public: true, operations: [version:read]}
{id: all, plane: inbound, roles: [authenticated, viewer], operations: ["*"]}
{id: more, plane: inbound, roles: [authenticated], paths: ["/**"]}"""
    )
    table = catalogue.load("3.3")
    templates = {route.template for operation in table.operations.values() for route in operation.routes}
    targets = {re.sub(r"\{[^}]*\}", "x", template) for template in templates} | {
        "/api/v2/monitor/health/", "/api/v2/monitor/healthz", "/api/v2/monitor/health/x", "/api/v2/monitor", "/",
        "/API/v2/monitor/health", "/api/v2/monitor/health;x", "/api/v2/monitor/health.", "/api/v2%2Fmonitor/healt%68x",
    }  # fmt: skip
    reached = {
        (method, target)
        for method, target in itertools.product(METHODS, targets)
        if isinstance(evaluate(request(method, target), None, loaded), Allow)
    }
    assert reached == {
        (method, path) for method in ("GET", "HEAD") for path in ("/api/v2/monitor/health", "/api/v2/version")
    }


# d-32: attacks on the loader


@pytest.mark.parametrize(
    "data",
    [
        "!!python/object/apply:os.system ['touch /tmp/owned']",
        text('{id: x, plane: inbound, roles: !!python/name:os.system [viewer], operations: ["*"]}'),
        text("{id: x, deny: !!bool yes, methods: [DELETE]}"),
        text('{id: &a x, plane: inbound, roles: [viewer], operations: ["*"]}'),
        text('{<<: {roles: [viewer]}, id: x, plane: inbound, operations: ["*"]}'),
        text("{id: x, plane: inbound, roles: [viewer], operations: [dags:read], roles: [authenticated]}"),
        text("{id: x, deny: true, methods: [DELETE], deny: false}"),
        text("{id: x, deny: yes, methods: [DELETE]}"),
        text("{id: x, deny: on, methods: [DELETE]}"),
        text("{id: x, deny: 1, methods: [DELETE]}"),
        text('{id: x, deny: "true", methods: [DELETE]}'),
        text("{id: x, denny: true, methods: [DELETE]}"),
        text("{id: x, deny: true, methods: [DELETE], roles: }"),
        text("{id: x, deny: true, methods: [DELETE], roles: []}"),
        text("{id: x, plane: inbound, roles: [viewer], operations: [dag_runs:create], dags: ~}"),
        text() + "---\n" + text("{id: x, deny: true, methods: [DELETE]}"),
        b"\xff\xfe" + text().encode("utf-16-le"),
        text().encode() + b"\xc0\xaf",
        text().encode() + b"\x00",
        text() + "roles: {viewer: {groups: [everyone]}}\n",
        b"",
        text().encode()[: len(text()) // 2],
    ],
)
def test_d32_a_file_that_could_be_misread_is_refused(data):
    assert refused(data)


def test_d32_no_part_of_a_file_is_used_when_it_was_cut_off():
    """A partial write: what is there may be valid YAML, and must still not be a policy that allows more."""
    whole = text(
        "{id: a, plane: inbound, roles: [viewer], operations: [dags:read]}\n{id: b, deny: true, methods: [DELETE]}"
    )
    before_rules = whole.encode()[: whole.index("rules:")]
    assert [problem.message for problem in refused(before_rules)] == ["`rules` is missing"]


def test_d32_aliases_do_not_multiply():
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    problems = refused("\n".join(bomb))
    assert len(problems) > 300
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_d32_nesting_is_bounded(opening):
    assert refused("rules: \n  " + opening * 200_000)


def test_d32_size_is_bounded():
    [problem] = refused(text().encode() + b"#" * yaml_document.MAX_BYTES)
    assert problem.message == "the file is too large"


def test_d32_yaml_is_read_in_one_place_without_constructors():
    """Constructors make objects from tags. Nothing in the loader may call one."""
    calls = {
        node.attr
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "yaml"
    }
    assert calls <= {
        "AliasEvent", "CBaseLoader", "Event", "MappingEndEvent", "MappingStartEvent", "MarkedYAMLError", "ScalarEvent",
        "SequenceEndEvent", "StreamEndEvent", "YAMLError",
    }  # fmt: skip


# d-33: patterns that take long


@pytest.mark.parametrize("pattern", ["a*" * 4000 + "b", "*a" * 4000, "*aaaaaaab" * 800, "a" * 4000 + "*" + "a" * 4000])
def test_d33_the_worst_glob_on_the_longest_value_is_fast(pattern):
    glob, value = parse_glob(pattern), "a" * 8192
    table = GlobTable()
    table.setdefault(glob, pattern)
    for find in (glob.matches, table.find):
        best = min(_seconds(find, value) for _ in range(5))
        assert best < 0.005


@pytest.mark.parametrize(
    ("patterns", "segments"),
    [
        (["/" + "a*" * 4000 + "b"], ("a" * 8191,)),
        (["/" + "{x}/" * 1000 + "**", "/" + "a/" * 1000 + "b"], ("a",) * 4096),
        (["/" + "/".join(["*a*a*a*a*b"] * 100)], ("a" * 80,) * 100),
        (["/" + "/".join(choice) for choice in itertools.product(["a", "{x}"], repeat=8)], ("a",) * 9),
    ],
)
def test_d33_the_worst_path_patterns_on_the_longest_path_are_fast(patterns, segments):
    table = PathTable(parse_path(pattern) for pattern in patterns)
    assert min(_seconds(table.find, segments) for _ in range(5)) < 0.005


def _seconds(function, argument):
    started = time.process_time()
    function(argument)
    return time.process_time() - started


def test_d33_no_regular_expression_comes_from_a_policy():
    """Every `re.compile` in the policy has a literal pattern; nothing else of `re` is called with text of a policy."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id in {"re", "fnmatch"}:
                    literal = isinstance(node.args[0], ast.Constant) or (
                        isinstance(node.args[0], ast.Name) and node.args[0].id.isupper()
                    )
                    assert literal, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("pattern", ["/(a+)+$", "/a|b", "^/a", "/[a-z]", "/a\\d", "/.*", "/.+/x"])
def test_d33_what_looks_like_a_regular_expression_is_refused(pattern):
    escaped = pattern.replace("\\", "\\\\")
    assert refused(text(f'{{id: x, plane: inbound, roles: [viewer], paths: ["{escaped}"]}}'))


# d-34: prefix and suffix slips


EDGES = ("x", "-", ".", "_", "%2C", "%3B", "0", "A")


def edited(path):
    """Every path that differs by one character at a segment's edge."""
    segments = path[1:].split("/")
    for position, segment in enumerate(segments):
        for changed in {
            *(segment + e for e in EDGES),
            *(e + segment for e in EDGES),
            segment[1:],
            segment[:-1],
            segment.upper(),
        }:
            if changed not in {segment, "", ".", ".."}:
                yield "/" + "/".join([*segments[:position], changed, *segments[position + 1 :]])
    yield path + "/"
    if len(segments) > 1:
        yield "/" + "/".join(segments[:-1])


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("operations: [version:read]", "/api/v2/version"), ("operations: [dags:read]", "/api/v2/dags/x/details"),
        ("paths: [/api/v2/version]", "/api/v2/version"), ('paths: ["/custom/{id}/end"]', "/custom/7/end"),
        ('paths: ["/custom/**"]', "/custom/7/end"),
    ],
)  # fmt: skip
def test_d34_a_path_that_differs_at_a_segments_edge_is_another_path(rule, path):
    loaded = load(f"{{id: x, plane: inbound, roles: [viewer], {rule}}}")
    assert isinstance(evaluate(request("GET", path), identity("viewer"), loaded), Allow)
    pattern = re.search(r'paths: \["?([^"\]]*)', rule)
    table = catalogue.load("3.3")
    for other in edited(path):
        asked = request("GET", other)
        route = table.match(asked.segments, "GET")
        meant = (
            parse_path(pattern[1]).matches(asked.segments)
            if pattern
            else route is not None and f"[{route.operation}]" in rule
        )
        assert isinstance(evaluate(asked, identity("viewer"), loaded), Allow) is meant, other
    wrong = [other for other in edited("/api/v2/version") if other != "/api/v2/version"]
    if path == "/api/v2/version":
        assert not [w for w in wrong if isinstance(evaluate(request("GET", w), identity("viewer"), loaded), Allow)]


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("sales", ["sales"], ["sales_", "Sales", "xsales", "sale", "sales.x", "~"]),
        ("sales_*", ["sales_", "sales_x"], ["sales", "xsales_x", "Sales_x", "sale_s_x", "~"]),
        ("*_eu", ["_eu", "x_eu"], ["x_eu2", "x-eu", "eu", "~"]),
        ("a*z", ["az", "abz"], ["a", "z", "azb", "~"]),
    ],
)
def test_d34_a_dag_pattern_stands_for_the_whole_id(pattern, inside, outside):
    loaded = load(f'{{id: x, plane: inbound, roles: [viewer], operations: [dag_runs:create], dags: ["{pattern}"]}}')
    for dag, expected in [*((dag, True) for dag in inside), *((dag, False) for dag in outside)]:
        decision = evaluate(request("POST", f"/api/v2/dags/{dag}/dagRuns"), identity("viewer"), loaded)
        assert isinstance(decision, Allow) is expected, dag


def test_d34_the_word_for_all_dags_is_only_for_those_who_may_touch_all():
    """CVE-2026-45426: `~` in a path is not a DAG id that a narrow pattern could match."""
    for pattern, expected in (("*", True), ("s*", False), ("*s", False), ("sales", False), ("*_*", False)):
        loaded = load(f'{{id: x, plane: inbound, roles: [viewer], operations: [dag_runs:read], dags: ["{pattern}"]}}')
        decision = evaluate(request("GET", "/api/v2/dags/~/dagRuns"), identity("viewer"), loaded)
        assert isinstance(decision, Allow) is expected
    everything = '{id: x, plane: inbound, roles: [viewer], operations: ["*"]}'
    denied = load(everything + "\n{id: y, deny: true, plane: inbound, dags: [secret]}")
    assert evaluate(request("GET", "/api/v2/dags/~/dagRuns"), identity("viewer"), denied).rule == "y"


SOME = '{id: some, plane: inbound, roles: [viewer], operations: ["dags:read", "dag_runs:*"], dags: ["s*"]}\n'
SECRET = "{id: no-secret, deny: true, plane: inbound, dags: [s_secret]}"


@pytest.mark.parametrize("spelt", ["~", "%7E", "%7e"])
def test_d34_the_word_for_all_dags_in_another_spelling_is_the_same_word(spelt):
    loaded = narrowing(load(SOME + SECRET))
    target = f"/api/v2/dags/{spelt}/dagRuns"
    listed = evaluate(request("GET", target, narrowed=True), identity("viewer"), loaded)
    assert listed.dags == DagGrant(("s*",), ("s_secret",))
    for asked in (
        request("GET", target),
        request("POST", target, narrowed=True),
        request("PATCH", target, narrowed=True),
    ):
        assert isinstance(evaluate(asked, identity("viewer"), loaded), Deny)
    for other in ("%257E", "%C2%7E", "\uff5e"):
        with pytest.raises(RequestError):
            request("GET", f"/api/v2/dags/{other}/dagRuns", narrowed=True)
    for name in ("~~", "s~", "~s", "%7E~", "~%2C"):
        decision = evaluate(request("GET", f"/api/v2/dags/{name}/dagRuns", narrowed=True), identity("viewer"), loaded)
        assert decision.dag_id not in {"", "~"}
        assert isinstance(decision, Allow) is name.startswith("s")


def test_d34_a_dag_id_is_never_a_pattern():
    """Airflow has no `*` in a DAG id, but who asks writes what they like."""
    long = ", ".join(f'"{"x" * 95}{number:03}*"' for number in range(100))
    few = narrowing(load(SOME + SECRET))
    many = narrowing(load(SOME.replace('"s*"]', f'"s*", {long}]') + SECRET))
    for dag_id in ("*", "s*", "s_secre*", "%2A", "s_secret%2A", "s%2a"):
        asked = request("GET", f"/api/v2/dags/{dag_id}/dagRuns", narrowed=True)
        for loaded, globs in ((few, 1), (many, 101)):
            listed = evaluate(request("GET", "/api/v2/dags", narrowed=True), identity("viewer"), loaded)
            assert len(listed.dags.allowed) == globs
            decision = evaluate(asked, identity("viewer"), loaded)
            assert isinstance(decision, Deny) or decision.dags == listed.dags


def test_d34_an_empty_dag_id_is_no_dag():
    loaded = narrowing(load(SOME + SECRET))
    for target in ("/api/v2/dags/", "/api/v2/dags//dagRuns", "/api/v2/dags/%2FdagRuns"):
        try:
            asked = request("GET", target, narrowed=True)
        except RequestError:
            continue
        assert isinstance(evaluate(asked, identity("viewer"), loaded), Deny)


def test_d34_who_may_see_some_dags_may_not_change_all():
    """Whatever the catalogue marks today: a route that is not marked needs the right on all DAGs."""
    loaded = narrowing(load(SOME + SECRET), ())
    table = loaded.catalogue
    for operation in table.operations.values():
        for route in operation.routes:
            segments = tuple("~" if word.startswith("{") else word for word in route.template[1:].split("/"))
            match = table.match(segments, route.method)
            if match is not None and match.dag_id == "~":
                asked = request(route.method, "/" + "/".join(segments), narrowed=True)
                assert isinstance(evaluate(asked, identity("viewer"), loaded), Deny), route


def test_d34_a_pattern_with_very_many_stars_costs_little():
    pattern = "*".join("a" * 120)
    loaded = load(f'{{id: x, plane: inbound, roles: [viewer], operations: [dag_runs:read], dags: ["{pattern}"]}}')
    asked = request("GET", f"/api/v2/dags/{'a' * 4000}b/dagRuns")
    started = time.process_time()
    assert isinstance(evaluate(asked, identity("viewer"), loaded), Deny)
    assert time.process_time() - started < 0.1


def test_d34_no_character_set_is_stripped_where_a_prefix_is_meant():
    """`lstrip("/api")` removes letters, not a prefix."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                assert node.func.attr not in {"strip", "lstrip", "rstrip"}, f"{path.name}:{node.lineno}"


# d-40: what leaves by another spelling, or through a tunnel


@pytest.mark.parametrize(
    "spelling",
    [
        "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0251.0376.0251.0376", "169.254.43518", "169.16689662",
        "169.254.169.254.", "169.254.169.0376", "[::ffff:169.254.169.254]", "[0:0:0:0:0:ffff:a9fe:a9fe]", "127.1", "0",
    ],
)  # fmt: skip
@pytest.mark.parametrize("port", ["", ":80"])
def test_d40_an_address_has_one_spelling_for_calls_and_rules(spelling, port):
    """A rule that denies `169.254.169.254` is not got by with another way to write it, and none can be allowed."""
    for method, target in (("GET", "/latest"), ("CONNECT", "")):
        asked = HttpRequest(
            plane="egress", audience="", method=method, authority=spelling + (port or ":443"), target=target
        )
        with pytest.raises(RequestError) as refusal:
            canonical(asked)
        assert refusal.value.reason is Reason.BAD_HOST
    assert refused(text(f'{{id: x, plane: egress, roles: [viewer], hosts: ["{spelling}{port}"], paths: [/x]}}'))


@pytest.mark.parametrize(
    "deny",
    [
        "hosts: [db.internal]", 'hosts: ["*.internal"]', "destinations: [db]", "methods: [DELETE]", "paths: [/admin]",
        "methods: [CONNECT]", "roles: [authenticated]", "dags: [sales]",
        "hosts: [db.internal], methods: [GET], paths: [/x]",
    ],
)  # fmt: skip
def test_d40_no_tunnel_gets_by_a_deny_rule(deny):
    """What goes through is not seen, so that whatever is denied there may be what goes through."""
    allow = "{id: tunnel, plane: egress, destinations: [db], methods: [CONNECT], dags: [sales]}"
    who, asked = caller("sales"), request("CONNECT", "db.internal:443", destination="db")
    assert isinstance(evaluate(asked, who, load(allow)), Allow)
    decision = evaluate(asked, who, load(f"{allow}\n{{id: no, deny: true, plane: egress, {deny}}}"))
    assert (decision.reason, decision.rule) == (Reason.DENY_RULE, "no")
