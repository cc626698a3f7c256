"""What an assertion says of rights: which DAGs, which of Airflow's roles, which items of Airflow's menu.

Law: pure. All of it follows from the decision on one request, and holds for that request alone: Airflow is told what
the policy allows here, and no more than that.
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
    """What a caller is to Airflow in this request: what their roles are, or more where the allowed operation needs it.

    The stronger of the two, so that Airflow never refuses by level what the policy allows, and one more role, rule or
    group never lowers it. `airflow:` of a role is a floor for every request, not a cap.
    """
    return max(identity.airflow_role, allow.level, key=_rank)


def _rank(role: str) -> int:
    return _RANKS.get(role, -1)


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
