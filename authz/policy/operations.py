"""What the words under a rule's `operations` mean: names, wildcards and sets of the catalogue.

Law: no wildcard and no set of an allow rule includes an operation that the catalogue marks `never`; those of a deny
rule do. A set has what Airflow's role of that name may do by FAB's defaults, which is in the catalogue's data.
"""

from authz.catalogue import Catalogue, Operation
from authz.policy.rules import AIRFLOW_ROLES, BUILT_IN


def words_for(operation: Operation) -> tuple[str, ...]:
    """Every word that may stand for the operation in a rule."""
    area, _, action = operation.name.partition(":")
    sets = tuple(BUILT_IN)[AIRFLOW_ROLES.index(operation.airflow_role) :]
    return operation.name, f"{area}:*", f"*:{action}", "*", *sets


def expand(word: str, catalogue: Catalogue, *, never: bool) -> frozenset[str]:
    """The operations that a word stands for; `never` tells whether other words than names include those marked so."""
    if word in catalogue.operations:
        return frozenset({word})
    return frozenset(
        name
        for name, operation in catalogue.operations.items()
        if word in words_for(operation) and (never or not operation.never)
    )
