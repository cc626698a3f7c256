import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import catalogue
from authz.core.documents.wording import Mistake
from authz.core.errors import PolicyError
from authz.core.policy import reach
from authz.core.policy.operations import expand, words_for
from authz.core.policy.patterns import parse_path, segment_matches
from tests.support.examples import examples
from tests.support.factories.policies import load, narrowing_catalogue

TABLE = catalogue.load("3.3")

_METHODS = "none of the rule's operations has these methods"
_PATHS = "none of the rule's operations has these paths"
_NAME = "these paths are allowed only by name"
_DAGS = "nothing that the rule covers names a DAG like these"


def problem(rule):
    try:
        load(f"{{id: x, {rule}}}")
    except PolicyError as failure:
        return [(problem.message.split(",")[0], problem.column) for problem in failure.problems]
    return []


@pytest.mark.parametrize(
    "rule",
    [
        "plane: inbound, roles: [viewer], operations: [dag_runs:read], methods: [GET]",
        "plane: inbound, roles: [viewer], operations: [dag_runs:read], methods: [HEAD]",
        "plane: inbound, roles: [viewer], operations: [dag_runs:read, dag_runs:create], methods: [POST]",
        'plane: inbound, roles: [viewer], operations: [dag_runs:read], paths: ["/api/**"]',
        'plane: inbound, roles: [viewer], operations: [dag_runs:read], paths: ["/api/v2/dags/{d}/dagRuns"]',
        'plane: inbound, roles: [viewer], operations: [dag_runs:read], paths: ["/api/v2/dags/sales/dagRuns"]',
        'plane: inbound, roles: [viewer], operations: [dag_runs:read], paths: ["/api/v2/dags/sales_*/**"]',
        'plane: inbound, roles: [viewer], operations: [pools:read], paths: ["/api/v2/pools/a/b/c"]',
        'plane: inbound, roles: [viewer], operations: [pools:read], paths: ["/api/v2/pools/a/**"]',
        'plane: inbound, roles: [viewer], operations: [dag_runs:read], dags: ["sales_*"]',
        'plane: inbound, roles: [viewer], operations: [dag_runs:bulk], dags: ["*"]',
        'plane: inbound, deny: true, operations: [dag_runs:bulk], dags: ["sales_*"]',
        'plane: inbound, roles: [viewer], paths: ["/api/v2/dags/**"], dags: ["sales_*"]',
        'plane: inbound, deny: true, dags: ["sales_*"]',
        'deny: true, paths: ["/v1/x"], dags: ["sales_*"]',
        'plane: egress, roles: [viewer], hosts: [a], paths: ["/v1"], dags: ["sales_*"]',
        'plane: egress, hosts: [a], paths: ["/v1"], dags: ["sales_*"], tasks: [t], identity: asserted',
        "plane: egress, destinations: [a], methods: [CONNECT], identity: verified",
        "plane: egress, deny: true, methods: [CONNECT]",
        "plane: inbound, roles: [viewer], operations: [tokens:create], paths: [/ui/auth/token]",
        "plane: inbound, roles: [viewer], paths: [/ui/auth/token, /ui/other]",
        'plane: inbound, roles: [viewer], paths: ["/ui/auth/{x}"]',
        "plane: inbound, deny: true, paths: [/ui/auth/token]",
        "plane: egress, roles: [viewer], hosts: [a], paths: [/ui/auth/token]",
        "plane: inbound, deny: true, operations: [tokens:create]",
        'plane: inbound, deny: true, operations: ["tokens:*"]',
    ],
)
def test_rules_that_can_apply(rule):
    assert problem(rule) == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("plane: inbound, roles: [viewer], operations: [dags:read], methods: [POST]", _METHODS),
        ("plane: inbound, roles: [viewer], operations: [dag_runs:create], methods: [HEAD]", _METHODS),
        ("plane: inbound, roles: [viewer], operations: [dags:read], paths: [/api/v2/dag]", _PATHS),
        ("plane: inbound, roles: [viewer], operations: [dags:read], paths: [/api/v2/dags/]", _PATHS),
        ("plane: inbound, roles: [viewer], operations: [version:read], paths: [/api/v2/version/x]", _PATHS),
        ('plane: inbound, roles: [viewer], operations: [version:read], paths: ["/api/v2/version/**"]', _PATHS),
        ('plane: inbound, roles: [viewer], operations: [pools:read], paths: ["/api"]', _PATHS),
        ('plane: inbound, roles: [op], operations: ["*:create"], methods: [DELETE], paths: [/api/v2/dags]', _METHODS),
        ('plane: inbound, roles: [viewer], operations: [pools:read], dags: ["*"]', _DAGS),
        ('plane: inbound, roles: [viewer], paths: ["/api/v2/version"], dags: ["*"]', _DAGS),
        ("plane: inbound, roles: [viewer], paths: [/ui/auth/token], methods: [POST]", _NAME),
        ('plane: inbound, roles: [viewer], operations: ["tokens:*"]', "unknown operation `tokens:*` (Airflow 3.3)"),
    ],
)  # fmt: skip
def test_rules_that_can_never_apply(rule, message):
    assert [text for text, _ in problem(rule)] == [message]


@pytest.mark.parametrize(
    ("rule", "narrowed", "found"),
    [
        ('roles: [viewer], operations: [dag_runs:bulk], dags: ["a", "b*"]', False, [_DAGS]),
        ('roles: [viewer], operations: [dag_runs:bulk], dags: ["a", "b*"]', True, []),
        ('roles: [viewer], operations: [dag_runs:bulk, pools:read], dags: ["a", "b*"]', False, [_DAGS]),
        ('roles: [viewer], operations: [dag_runs:bulk, dag_runs:create], dags: ["a", "b*"]', False, []),
        ('roles: [viewer], operations: [dag_runs:bulk], dags: ["*"]', False, []),
        ('roles: [viewer], paths: ["/api/v2/dags/*/dagRuns"], methods: [PATCH], dags: ["a"]', False, [_DAGS]),
        ('roles: [viewer], paths: ["/api/v2/dags/*/dagRuns"], methods: [PATCH], dags: ["a"]', True, []),
        ('deny: true, operations: [dag_runs:bulk], dags: ["a"]', False, []),
    ],
)
def test_rules_for_some_dags_where_the_path_names_none(monkeypatch, rule, narrowed, found):
    marked = frozenset({("PATCH", "/api/v2/dags/{dag_id}/dagRuns")} if narrowed else ())
    monkeypatch.setattr(catalogue, "load", lambda version: narrowing_catalogue(version, marked))
    assert [text for text, _ in problem(f"plane: inbound, {rule}")] == found


def test_equal_questions_get_equal_answers():
    rule = "{{id: {}, plane: inbound, roles: [viewer], operations: [dags:read], methods: [POST]}}"
    with pytest.raises(PolicyError) as caught:
        load(rule.format("a") + "\n" + rule.format("b"))
    assert [problem.line for problem in caught.value.problems] == [16, 17]


def test_a_word_stands_for_operations():
    assert expand("dags:read", TABLE, never=False) == {"dags:read"}
    assert expand("dags:*", TABLE, never=False) == {name for name in TABLE.operations if name.startswith("dags:")}
    assert expand("*:delete", TABLE, never=False) == {name for name in TABLE.operations if name.endswith(":delete")}
    assert expand("nothing:*", TABLE, never=True) == frozenset()


def test_only_a_deny_rule_has_wildcards_for_what_must_be_named():
    never = {name for name, operation in TABLE.operations.items() if operation.never}
    assert never
    assert expand("*", TABLE, never=True) == set(TABLE.operations)
    assert expand("*", TABLE, never=False) == set(TABLE.operations) - never
    assert expand("tokens:create", TABLE, never=False) == {"tokens:create"}


def test_the_words_for_an_operation():
    sets = ("airflow.viewer", "airflow.user", "airflow.op", "airflow.admin")
    assert words_for(TABLE.operations["dags:read"]) == ("dags:read", "dags:*", "*:read", "*", *sets)
    assert words_for(TABLE.operations["pools:create"])[4:] == ("pools:change", "*:change", *sets[2:])
    assert words_for(TABLE.operations["event_logs:read"])[4:] == sets[3:]


@pytest.mark.parametrize(("word", "levels"), [("viewer", 1), ("user", 2), ("op", 3), ("admin", 4)])
def test_a_set_has_what_airflows_role_of_that_name_may_do(word, levels):
    within = ("viewer", "user", "op", "admin")[:levels]
    wanted = {name for name, operation in TABLE.operations.items() if operation.airflow_role in within}
    never = {name for name in wanted if TABLE.operations[name].never}
    assert expand(f"airflow.{word}", TABLE, never=False) == wanted - never
    assert expand(f"airflow.{word}", TABLE, never=True) == wanted


TARGETS = tuple(reach._each_target(TABLE))
OVERLAPS = reach.Overlaps(TARGETS)
_WORDS = sorted({word for target in TARGETS for word in target.segments if word} | {"x", "{id}", "*"})
_SEGMENT = st.sampled_from(_WORDS) | st.sampled_from(_WORDS).map(lambda word: f"{word[:2].strip('{*')}*")


def overlap(target, path):
    """The plain definition."""
    shorter = min(len(target.segments), len(path.segments))
    for want, have in zip(path.segments[:shorter], target.segments[:shorter], strict=True):
        if not (segment_matches(want, have) if have is not None else want != ""):
            return False
    if len(target.segments) == len(path.segments):
        return target.rest == path.rest
    return path.rest if len(path.segments) == shorter else target.rest


@examples(300)
@given(st.data())
def test_a_pattern_overlaps_the_targets_that_the_definition_says(data):
    words = list(data.draw(st.sampled_from(TARGETS)).segments)
    words = [word or "{id}" for word in words[: data.draw(st.integers(0, 12))]]
    for position in data.draw(st.lists(st.integers(0, 12), max_size=2)):
        words[position : position + 1] = [data.draw(_SEGMENT)]
    text = "/" + "/".join(words) + data.draw(st.sampled_from(["", "/**", "/", "/a/b/c/d/e/f/g"]))
    try:
        path = parse_path(text)
    except Mistake:
        return
    expected = sum(1 << position for position, target in enumerate(TARGETS) if overlap(target, path))
    assert OVERLAPS.of(path) == expected
