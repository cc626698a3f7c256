"""A name in a test that is nearly one of the policy's is remarked upon; one that is nothing like it is a stranger."""

from authz.core.cases.remarks import warnings
from tests.support.factories.policies import ISSUERS
from tests.support.factories.suites import read


def told(tests, **parts):
    return [f"{problem.message} ({problem.hint})" for problem in warnings(read(tests, **parts))]


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
