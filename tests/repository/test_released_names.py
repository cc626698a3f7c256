"""What users write and read keeps its name from release to release: docs/upgrade.md promises it."""

from scripts.released_names import FILE, _properties, names

RELEASED = FILE.read_text().splitlines()[1:]


def test_every_name_of_the_last_release_is_still_there():
    gone = sorted(set(RELEASED) - set(names()))
    assert gone == [], "say so under Unreleased in CHANGELOG.md (to be looked at when you upgrade), and take them out"


def test_it_has_names_of_every_kind():
    for name in (
        "policy rules.until",
        "policy rules.identity=verified-bearer",
        "policy roles.*.groups",
        "tests tests.expect",
        "team rules.dags",
        "settings envoy.inbound.login.split_cookies",
        "reason no_rule",
        "metric authz_checks_total counter",
        "metric authz_checks_total reason",
        "record reason",
        "command authz audit verify --json",
        "airflow [authz] jwks_url",
        "operation dag_runs:create",
    ):
        assert name in RELEASED


def test_a_name_that_goes_is_noticed_wherever_it_is_in_a_schema():
    schema = {
        "$defs": {"A": {"properties": {"deep": {"enum": ["x", "y"]}, "again": {"$ref": "#/$defs/A"}}}},
        "properties": {
            "list": {"items": {"$ref": "#/$defs/A"}},
            "map": {"additionalProperties": {"$ref": "#/$defs/A"}},
        },
    }
    found = set(_properties(schema))
    assert {"list.deep=x", "list.again", "map.*.deep=y"} <= found
    del schema["$defs"]["A"]["properties"]["deep"]
    assert found - set(_properties(schema)) == {
        f"{at}.deep{word}" for at in ("list", "map.*") for word in ("", "=x", "=y")
    }
