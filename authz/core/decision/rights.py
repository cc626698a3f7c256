"""The rights in an assertion: DAGs, the Airflow role, and items of Airflow's menu.

Law: pure. All rights follow from the decision on one request and hold for that request alone: the assertion passes
Airflow only what the policy allows here.
"""

from dataclasses import replace
from typing import Final

from authz.core.catalogue import ANY_DAG
from authz.core.decision.decide import evaluate
from authz.core.model import Allow, DagGrant, Decision, Identity, Request
from authz.core.policy import AIRFLOW_ROLES, Policy
from authz.core.policy.dags import EVERY

_RANKS: Final = {role: rank for rank, role in enumerate(AIRFLOW_ROLES)}


def airflow_role(identity: Identity, allow: Allow) -> str:
    """The caller's Airflow role in this request: from their roles, or stronger if the allowed operation needs it.

    It is the stronger of the two, so that Airflow never refuses by level what the policy allows, and another role, rule
    or group never lowers it. A role's `airflow:` is a floor for every request, not a cap.
    """
    return max(identity.airflow_role, allow.level, key=_rank)


def _rank(role: str) -> int:
    return _RANKS.get(role, -1)


def menu(request: Request, identity: Identity, policy: Policy) -> tuple[str, ...]:
    """The items of Airflow's menu, sorted, whose pages the policy would allow at this request's host."""
    lists = (
        (item, replace(request, method="GET", path="/" + "/".join(segments), segments=segments, outside=False))
        for item, segments in sorted(policy.catalogue.menu.items())
    )
    return tuple(item for item, asked in lists if isinstance(evaluate(asked, identity, policy), Allow))


def dags_json(decision: Decision) -> dict[str, list[str]] | None:
    """The DAGs that may be seen or touched, as plain data; None without a grant."""
    grant = decision.dags if isinstance(decision, Allow) else None
    return None if grant is None else {"allowed": list(grant.allowed), "denied": list(grant.denied)}


def dags_text(decision: Decision) -> str:
    """The same as a sentence, for a request that may reach any DAG; "" without a grant, or for all DAGs."""
    grant = decision.dags if isinstance(decision, Allow) and decision.dag_id == ANY_DAG else None
    if grant is None or grant == DagGrant((EVERY,)):
        return ""
    shown = (
        "all DAGs" if grant.allowed == (EVERY,) else f"only {', '.join(grant.allowed)}" if grant.allowed else "no DAG"
    )
    return f"Airflow shows {shown}" + (f", not {', '.join(grant.denied)}" if grant.denied else "")
