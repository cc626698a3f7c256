"""Which role in Airflow itself each role has.

Law: pure; a role never has a weaker one than what its rules' operations need, unless the policy says which it has.
"""

from collections.abc import Iterable, Mapping

from authz.core.catalogue import Catalogue
from authz.core.policy.operations import expand
from authz.core.policy.rules import AIRFLOW_ROLES, Effect, Role, Rule


def airflow_roles(roles: Mapping[str, Role], rules: Iterable[Rule], catalogue: Catalogue) -> dict[str, str]:
    """Each role's role in Airflow: from the policy; else by its own name; else the most that its rules grant."""
    granted: dict[str, int] = {}
    needed: dict[tuple[str, ...], int] = {}
    for rule in rules:
        if rule.effect is Effect.ALLOW and rule.operations:
            if rule.operations not in needed:
                names = {name for word in rule.operations for name in expand(word, catalogue, never=False)}
                needed[rule.operations] = max(AIRFLOW_ROLES.index(catalogue.operations[n].airflow_role) for n in names)
            for role in rule.roles:
                granted[role] = max(granted.get(role, 0), needed[rule.operations])
    found = {name: AIRFLOW_ROLES[rank] for name, rank in granted.items()}
    found |= {name: name for name in roles if name in AIRFLOW_ROLES}
    return found | {role.name: role.airflow for role in roles.values() if role.airflow}
