import re

import pytest
from pydantic import ValidationError

from authz.core.documents.wording import Mistake
from authz.core.errors import PolicyError
from authz.core.policy import Bundle, bundle, case_file_schema, included_file_schema, json_schema, load, schema
from authz.core.policy.case_schema import CallerEntry, CaseEntry, CaseFile, RunEntry
from authz.core.policy.include_schema import IncludedFile, IncludeEntry
from authz.core.policy.rule_schema import NeverEntry, RuleEntry
from authz.core.policy.schema import IssuerEntry, PolicyFile, RoleEntry
from authz.core.policy.team_schema import TeamEntry

SCHEMA = json_schema()
ENTRIES = {"IssuerEntry": IssuerEntry, "RoleEntry": RoleEntry, "RuleEntry": RuleEntry, "TeamEntry": TeamEntry} | {
    "IncludeEntry": IncludeEntry,
    "CaseEntry": CaseEntry,
    "CallerEntry": CallerEntry,
    "RunEntry": RunEntry,
}


def test_every_key_is_described_and_in_the_schema():
    for name, model in ENTRIES.items():
        properties = SCHEMA["$defs"][name]["properties"]
        assert set(properties) == set(model.model_fields)
        assert all(properties[key].get("description") for key in properties)
        assert SCHEMA["$defs"][name]["additionalProperties"] is False
    assert set(SCHEMA["properties"]) == set(PolicyFile.model_fields)
    assert all(entry.get("description") for entry in SCHEMA["properties"].values())


def test_test_files_have_a_schema_of_the_same_entries():
    made = case_file_schema()
    assert set(made["properties"]) == set(CaseFile.model_fields)
    assert {name: made["$defs"][name] for name in ("CaseEntry", "CallerEntry", "RunEntry")} == {
        name: SCHEMA["$defs"][name] for name in ("CaseEntry", "CallerEntry", "RunEntry")
    }
    assert made["additionalProperties"] is False


def test_files_of_teams_have_a_schema_of_the_same_rules():
    made = included_file_schema()
    assert set(made["properties"]) == set(IncludedFile.model_fields)
    assert made["$defs"]["RuleEntry"] == SCHEMA["$defs"]["RuleEntry"]
    assert all(entry.get("description") for entry in made["properties"].values())
    assert made["additionalProperties"] is False


def test_an_entry_of_never_has_the_conditions_of_a_rule():
    made = SCHEMA["$defs"]["NeverEntry"]
    rule = set(RuleEntry.model_fields) - {"id", "description", "deny", "public", "identity", "until"}
    assert set(made["properties"]) == rule | {"name", "except"}
    assert all(made["properties"][key].get("description") for key in made["properties"])
    assert made["additionalProperties"] is False
    assert case_file_schema()["$defs"]["NeverEntry"] == made
    types = {key: entry.annotation for key, entry in RuleEntry.model_fields.items()}
    assert all(types[key] == entry.annotation for key, entry in NeverEntry.model_fields.items() if key in rule)


def test_a_caller_is_a_name_or_written_out():
    who = SCHEMA["$defs"]["CaseEntry"]["properties"]["who"]
    assert {"type": "string"} in who["oneOf"]
    assert {"$ref": "#/$defs/CallerEntry"} in who["oneOf"]


def test_what_must_be_there():
    assert SCHEMA["required"] == ["version", "issuers"]  # without rules a built-in role must be used
    assert SCHEMA["$defs"]["RuleEntry"]["required"] == ["id"]
    assert SCHEMA["$defs"]["IssuerEntry"]["required"] == ["name", "issuer", "audiences", "algorithms"]


def test_defaults_are_those_that_people_write():
    issuer = SCHEMA["$defs"]["IssuerEntry"]["properties"]
    assert (issuer["max_lifetime"]["default"], issuer["clock_skew"]["default"]) == ("1h", "30s")
    rule = SCHEMA["$defs"]["RuleEntry"]["properties"]
    assert rule["deny"]["default"] is False
    assert "default" not in rule["plane"]
    assert "default" not in rule["roles"]


def test_closed_lists_are_in_the_schema():
    rule = SCHEMA["$defs"]["RuleEntry"]["properties"]
    assert rule["plane"]["enum"] == ["inbound", "egress"]
    assert "TRACE" not in rule["methods"]["items"]["enum"]
    assert "CONNECT" in rule["methods"]["items"]["enum"]
    assert rule["identity"]["enum"] == ["verified", "verified-bearer", "asserted"]
    assert "default" not in rule["identity"]
    assert re.match(rule["destinations"]["items"]["pattern"], "orders-eu_1")
    assert not re.match(rule["destinations"]["items"]["pattern"], "Orders")
    assert re.match(rule["tasks"]["items"]["pattern"], "group.load_*")
    algorithms = SCHEMA["$defs"]["IssuerEntry"]["properties"]["algorithms"]["items"]["enum"]
    assert not [name for name in algorithms if name.startswith("HS") or name == "none"]


def test_editors_know_the_built_in_roles_and_sets():
    roles = SCHEMA["properties"]["roles"]
    assert list(roles["properties"]) == ["airflow.viewer", "airflow.user", "airflow.op", "airflow.admin"]
    for entry in roles["properties"].values():
        assert set(entry["properties"]) == {"groups", "clients", "subjects", "issuers", "description"}
        assert entry["additionalProperties"] is False
    [(pattern, allowed)] = roles["patternProperties"].items()
    assert allowed is False
    assert re.match(pattern, "airflow.viwer")
    assert not any(re.match(pattern, name) for name in ("airflow.viewer", "airflow.op", "viewer", "airflow-viewer"))
    words = SCHEMA["$defs"]["RuleEntry"]["properties"]["operations"]["items"]["pattern"]
    assert re.match(words, "airflow.admin")
    assert not any(re.match(words, word) for word in ("airflow.", "airflow.viewers", "airflowxviewer", "viewer"))
    ids = SCHEMA["$defs"]["RuleEntry"]["properties"]["id"]["pattern"]
    assert re.match(ids, "viewer")
    assert not re.match(ids, "airflow.viewer")


def test_no_generated_titles():
    assert SCHEMA["title"] == "airflow-envoy-authz policy"
    assert str(SCHEMA).count("'title'") == 1


@pytest.mark.parametrize("model", ENTRIES.values())
def test_nothing_is_coerced_and_nothing_may_be_null(model):
    for key in model.model_fields:
        with pytest.raises(ValidationError) as caught:
            model.model_validate({key: None})
        assert key in {error["loc"][0] for error in caught.value.errors()}


def test_entries_are_frozen():
    rule = RuleEntry(id="a")
    with pytest.raises(ValidationError):
        rule.id = "b"


@pytest.mark.parametrize("algorithm", ["HS256", "hs512", "HS999", "none", "None", "NONE", "rs256", "ES256K", "RS1", ""])
def test_only_asymmetric_algorithms_that_we_know(algorithm):
    with pytest.raises(Mistake):
        schema._algorithm(algorithm)


def test_a_file_named_in_a_file_is_beside_it():
    assert bundle.beside("a/policy.yaml", "keys.json") == "a/keys.json"
    assert bundle.beside("policy.yaml", "keys.json") == "keys.json"
    assert bundle.beside("a/policy.yaml", "/keys.json") == "/keys.json"


def test_an_end_mark_below_what_could_be_missing_is_refused():
    """A half-written file would not have the key, and would be taken for a whole one."""
    text = "version: 1\nrules: []\nissuers: []\nroles: {}\nend_mark: true\n...\n"
    with pytest.raises(PolicyError) as caught:
        load(Bundle(text.encode(), "policy.yaml"))
    (problem,) = [problem for problem in caught.value.problems if "end_mark" in problem.message]
    assert (problem.line, problem.column) == (5, 1)
    assert "stands below `rules`" in problem.message


MARKED = "version: 1\nend_mark: true\nissuers: []\nroles: {}\nrules: []\n"


def test_a_file_that_says_that_it_has_an_end_mark_is_refused_without_it():
    with pytest.raises(PolicyError) as caught:
        load(Bundle(MARKED.encode(), "policy.yaml"))
    (problem,) = [problem for problem in caught.value.problems if "end mark" in problem.message]
    assert (problem.line, problem.column) == (2, 1)
    assert problem.message == "the file has no end mark: it is half written"
    assert problem.hint == "if it is whole, end it with a line `...`"
    with pytest.raises(PolicyError) as caught:
        load(Bundle(f"{MARKED}...\n".encode(), "policy.yaml"))
    assert not [problem for problem in caught.value.problems if "end" in problem.message]
