"""What an assertion says of rights: which DAGs, which of Airflow's roles, which items of Airflow's menu.

Law: pure. All of it follows from the decision on one request, and holds for that request alone: Airflow is told what
the policy allows here, and no more than that.
"""

from dataclasses import replace
from typing import Final

from authz.catalogue import ANY_DAG
from authz.decide import evaluate
from authz.model import Allow, DagGrant, Decision, Identity, Request
from authz.policy import AIRFLOW_ROLES, BUILT_IN, Policy
from authz.policy.dags import EVERY

_RANKS: Final = {"": -1, **{role: rank for rank, role in enumerate(AIRFLOW_ROLES)}}


def airflow_role(identity: Identity, allow: Allow, policy: Policy) -> str:
    """What somebody is to Airflow in this request: at least what the operation needs that the policy allows.

    Where a role of the policy's own says what they are to Airflow (`airflow:`), that stays: Airflow itself shall refuse
    the rest. The built-in roles are what their names say, and rules may add to them as to any other.
    """
    held = identity.airflow_role
    if _RANKS[allow.level] <= _RANKS.get(held, -1):
        return held
    roles = (policy.roles[name] for name in identity.roles if name in policy.roles and name not in BUILT_IN)
    return held if held and any(role.airflow == held for role in roles) else allow.level


def menu(request: Request, identity: Identity, policy: Policy) -> tuple[str, ...]:
    """The items of Airflow's menu, sorted, whose pages would be let in where this request goes."""
    lists = (
        (item, replace(request, method="GET", path="/" + "/".join(segments), segments=segments, outside=False))
        for item, segments in sorted(policy.catalogue.menu.items())
    )
    return tuple(item for item, asked in lists if isinstance(evaluate(asked, identity, policy), Allow))


def dags_json(decision: Decision) -> dict[str, list[str]] | None:
    """The DAGs that may be seen or touched, as plain data; None where nothing is said of them."""
    grant = decision.dags if isinstance(decision, Allow) else None
    return None if grant is None else {"allowed": list(grant.allowed), "denied": list(grant.denied)}


def dags_text(decision: Decision) -> str:
    """The same as a sentence, for a request that may reach any DAG; "" where no DAGs are told, or all of them."""
    grant = decision.dags if isinstance(decision, Allow) and decision.dag_id == ANY_DAG else None
    if grant is None or grant == DagGrant((EVERY,)):
        return ""
    shown = (
        "all DAGs" if grant.allowed == (EVERY,) else f"only {', '.join(grant.allowed)}" if grant.allowed else "no DAG"
    )
    return f"Airflow shows {shown}" + (f", not {', '.join(grant.denied)}" if grant.denied else "")
