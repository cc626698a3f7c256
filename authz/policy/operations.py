"""What the words under a rule's `operations` mean: names and wildcards of the catalogue.

Law: a wildcard of an allow rule never includes an operation that the catalogue marks `never`; of a deny rule it does.
"""

from authz.catalogue import Catalogue


def words_for(operation: str) -> tuple[str, ...]:
    """Every word that may stand for the operation in a rule."""
    area, _, action = operation.partition(":")
    return operation, f"{area}:*", f"*:{action}", "*"


def expand(word: str, catalogue: Catalogue, *, never: bool) -> frozenset[str]:
    """The operations that a word stands for; `never` tells whether wildcards include the operations marked so."""
    if word in catalogue.operations:
        return frozenset({word})
    return frozenset(
        name
        for name, operation in catalogue.operations.items()
        if word in words_for(name) and (never or not operation.never)
    )
