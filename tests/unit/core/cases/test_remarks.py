"""A name in a test that is nearly one of the policy's is remarked upon; one that is nothing like it is a stranger."""

import pytest

from authz.core import cases
from authz.core.cases import remarks
from authz.core.cases.known import Known
from authz.core.errors import PolicyError
from authz.core.policy import Bundle
from tests.support.factories.policies import ISSUERS
from tests.support.factories.policies import text as text_of
from tests.support.factories.suites import read


def told(tests, **parts):
    problems = (found.problem for found in remarks.findings(read(tests, **parts)))
    return [f"{problem.message} ({problem.hint})" for problem in problems]


def test_strangers_and_known_names_are_not_remarked_upon():
    tests = """{who: {groups: [quite-another]}, request: GET /api/v2/dags, expect: deny}
{who: {client: sales-etl}, request: GET /v1/x, destination: orders, expect: deny}
{who: {groups: [data-readers]}, request: GET /api/v2/dags, expect: allow}
{who: anonymous, request: GET /api/v2/dags, expect: deny}"""
    assert told(tests) == []


def test_slips_are_remarked_upon_once_per_file():
    tests = """{who: {groups: [data-raeders]}, request: GET /api/v2/dags, expect: deny}
{who: {groups: [data-raeders]}, request: GET /api/v2/pools, expect: deny}
{who: {client: sales-elt}, request: GET /v1/x, destination: ordres, expect: deny}"""
    assert told(tests) == [
        "no role has the group `data-raeders` (did you mean `data-readers`?)",
        "no role has the client `sales-elt` (did you mean `sales-etl`?)",
        "no rule names the destination `ordres` (did you mean `orders`?)",
    ]


def test_groups_of_an_issuer_whose_tokens_show_none():
    bare = ISSUERS.replace("    groups: [groups]\n", "")
    test = "{who: {groups: [data-readers]}, request: GET /api/v2/dags, expect: allow}"
    where = "(say where they are: groups: [claim])"
    assert told(test, issuers=bare) == [f"a test has groups, and tokens of any issuer show none {where}"]
    named = test.replace("{groups", "{issuer: corp, groups")
    assert told(named, issuers=bare) == [f"a test has groups, and tokens of the issuer `corp` show none {where}"]


RULES = """{id: reg, plane: egress, dags: ["sales_*"], destinations: [registry], methods: [GET], paths: ["/v1/**"]}
{id: view, plane: inbound, roles: [viewer], operations: [dags:read]}
"""


def of_never(entry, **more):
    suite = cases.read(Bundle((text_of(RULES) + f"never:\n  - {entry}\n").encode(), "policy.yaml"))
    assert suite.never
    return [
        (one.severity.value, one.problem.message.partition("names ")[2], one.problem.hint[:25])
        for one in remarks.findings(suite, **more)
    ]


NO_RULE = "which no rule that allows something names"
REGISTRI = [("warning", f"the destination `registri`, {NO_RULE}", "did you mean `registry`?")]


@pytest.mark.parametrize(("entry", "expected"), [
    ('{plane: egress, dags: ["sales_*"], destinations: [registri]}', REGISTRI),
    ('{plane: egress, dags: ["slaes_*"], destinations: [registry]}',
     [("warning", f"DAGs like `slaes_*`, {NO_RULE}", "did you mean `sales_*`?")]),
    ("{plane: egress, destinations: [vault]}",
     [("note", f"the destination `vault`, {NO_RULE}", "check how it is written; ")]),
    ('{plane: inbound, paths: ["/api/v2/varaibles/**"]}',
     [("warning", "the path `/api/v2/varaibles/**`, which is no route of Airflow 3.3", "did you mean `/api/v2/var")]),
    ("{plane: egress, destinations: [registry], methods: [DELETE]}", []),
    ('{plane: inbound, dags: ["finance_*"], except: [viewer]}', []),
])  # fmt: skip
def test_an_entry_of_never_that_holds_because_of_a_slip_is_remarked_upon(entry, expected):
    assert of_never(entry) == expected


def test_where_settings_name_the_destinations_they_decide_what_is_unknown():
    assert of_never("{plane: egress, destinations: [registri]}", by_settings=True) == []


def test_what_the_policy_does_not_know_of_a_caller_stands_before_the_failures():
    rules = "{id: view, plane: inbound, roles: [viewer], operations: [dags:read]}\n"
    tests = "".join(
        f"  - {{who: {{groups: [data-readres]}}, request: GET /api/v2/dags/{dag}, expect: allow}}\n" for dag in "ab"
    )
    with pytest.raises(PolicyError) as caught:
        cases.load(Bundle((text_of(rules) + "tests:\n" + tests).encode(), "policy.yaml"))
    first, *others = [str(problem) for problem in caught.value.problems]
    assert first.endswith(": no role has the group `data-readres` (did you mean `data-readers`?)")
    assert [" fails: expected allow, found deny" in other for other in others] == [True, True]


def test_who_is_described_by_what_no_role_has():
    known = Known(read("{who: anonymous, request: GET /api/v2/dags, expect: deny}").policy)
    assert known.memberships(["data-raeders", "quite-another"], "", "") == [
        "no role has the group `data-raeders` (did you mean `data-readers`?)",
        "no role has the group `quite-another`",
    ]
    assert known.memberships(["data-readers", "quite-another"], "", "alice") == []
    assert known.memberships([], "sales-elt", "") == ["no role has the client `sales-elt` (did you mean `sales-etl`?)"]
    assert known.memberships([], "", "alice") == ["no role has the subject `alice`"]
    assert known.memberships([], "", "") == []
