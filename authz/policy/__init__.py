"""The policy: YAML that people write → frozen, compiled tables that decide.

Law: order-free. Allow rules add rights, deny rules always win, what no rule allows is denied (DESIGN §2.1).
"""

from authz.policy.compiled import Gate, Policy
from authz.policy.editors import json_schema
from authz.policy.load import load
from authz.policy.rules import AIRFLOW_ROLES, AUTHENTICATED, BUILT_IN, Effect, Role, Rule

__all__ = [
    "AIRFLOW_ROLES",
    "AUTHENTICATED",
    "BUILT_IN",
    "Effect",
    "Gate",
    "Policy",
    "Role",
    "Rule",
    "json_schema",
    "load",
]
