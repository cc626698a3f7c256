"""The JSON Schemas of the policy file and of files that it names: editors complete keys and mark mistakes as you type.

Law: they are generated from the models that the loader uses, so they cannot say anything else.
"""

import re
from typing import Any

from pydantic import BaseModel

from authz.core.policy.case_schema import CaseFile
from authz.core.policy.include_schema import IncludedFile
from authz.core.policy.rules import AIRFLOW_ROLES, BUILT_IN, RESERVED
from authz.core.policy.schema import PolicyFile


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the policy file, for editors."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "airflow-envoy-authz policy",
        **_without_defaults(PolicyFile.model_json_schema()),
    }
    schema["title"] = "airflow-envoy-authz policy"
    roles = schema["properties"]["roles"]
    roles["properties"] = {name: _built_in(schema["$defs"]["RoleEntry"], name) for name in BUILT_IN}
    roles["patternProperties"] = {f"^{re.escape(RESERVED)}(?!({'|'.join(AIRFLOW_ROLES)})$)": False}
    return schema


def case_file_schema() -> dict[str, Any]:
    """The JSON Schema of a file that `test_files` names, for editors."""
    return _of(CaseFile, "airflow-envoy-authz tests of a policy")


def included_file_schema() -> dict[str, Any]:
    """The JSON Schema of a file that `include` names, for editors."""
    return _of(IncludedFile, "airflow-envoy-authz rules of a team")


def _of(model: type[BaseModel], title: str) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_without_defaults(model.model_json_schema()),
    }
    schema["title"] = title
    return schema


def _built_in(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """The entry of a built-in role: only who has it, not what it is."""
    keys = {key: value for key, value in entry["properties"].items() if key not in {"includes", "agent", "airflow"}}
    return {**entry, "properties": keys, "description": f"Who may do what Airflow's own role {BUILT_IN[name]} may do."}


def _without_defaults(node: Any) -> Any:
    """Remove the empty values that mean "absent" in the models, and the generated titles."""
    if isinstance(node, dict):
        return {key: _without_defaults(value) for key, value in node.items() if not _noise(key, value)}
    return [_without_defaults(item) for item in node] if isinstance(node, list) else node


def _noise(key: str, value: object) -> bool:
    return (key == "default" and value in ("", [], {})) or (key == "title" and isinstance(value, str))
