"""Compiles the policy: YAML that people write → frozen tables that decide.

Law: order-free. Allow rules add rights, deny rules always win, the default is to deny.
"""

from authz.core.policy.bundle import Bundle
from authz.core.policy.compiled import Gate, Policy
from authz.core.policy.editors import case_file_schema, included_file_schema, json_schema
from authz.core.policy.ends import as_of, ends
from authz.core.policy.load import load
from authz.core.policy.rules import AIRFLOW_ROLES, AUTHENTICATED, BUILT_IN, NEVER, Effect, Grantable, Role, Rule

__all__ = [
    "AIRFLOW_ROLES",
    "AUTHENTICATED",
    "BUILT_IN",
    "NEVER",
    "Bundle",
    "Effect",
    "Gate",
    "Grantable",
    "Policy",
    "Role",
    "Rule",
    "as_of",
    "case_file_schema",
    "ends",
    "included_file_schema",
    "json_schema",
    "load",
]
