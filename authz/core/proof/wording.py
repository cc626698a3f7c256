"""Callers and regions in words, for reports.

Law: text only; nothing here decides.
"""

import shlex
from collections.abc import Sequence
from typing import Final

from authz.core.model import Plane
from authz.core.policy.patterns import Glob
from authz.core.proof.callers import Caller
from authz.core.proof.regions import EVERY, Region
from authz.core.proof.witness import Witness

_FEW: Final = 4


def name_of(caller: Caller) -> str:
    """One caller by their memberships."""
    if caller.anonymous:
        return "callers without a token"
    if not caller.issuer:
        return "a run"
    held = " and ".join(f"{membership.kind} `{membership.value}`" for membership in caller.memberships)
    return held or f"every caller of {caller.issuer}"


def few_of(found: Sequence[Caller], *, of_issuer: bool) -> str:
    """Callers with one membership at most, and those who count alike: a few by name, the others as a number.

    Who needs no membership stands for all callers of the issuer. `of_issuer`: whether to say whose tokens are meant.
    """
    every = [caller.issuer for caller in found if not caller.memberships]
    names = [f"callers of {issuer}" for issuer in every] + [
        f"{one.kind} `{one.value}`{f' of {caller.issuer}' if of_issuer else ''}"
        for caller in found
        if caller.issuer not in every
        for one in (*caller.memberships, *caller.alike)
    ]
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more


def what_of(region: Region, operations: tuple[str, ...], dags: tuple[str, ...]) -> str:
    """The requests of a region; `operations` are those of the catalogue that it stands for, `dags` their DAGs."""
    more = f" and {len(operations) - _FEW} more" if len(operations) > _FEW else ""
    called = ", ".join(operations[:_FEW]) + more
    if not called:
        place = region.destination or (region.host.text if region.host is not None else "any host")
        called = " ".join(filter(None, (region.method, place, region.pattern)))
    dag = ", ".join(dags[:_FEW]) + (f" and {len(dags) - _FEW} more" if len(dags) > _FEW else "")
    run = f"as a run ({region.level})" if region.level is not None else ""
    task = f"task {region.task.text}" if region.level is not None and region.task != EVERY else ""
    return ", ".join(filter(None, (called, run, f"DAG {dag}" if dag else "", task)))


def dag_of(region: Region) -> str:
    """The DAGs of a region as a pattern; "" if it names none."""
    if region.plane is Plane.EGRESS:
        return "" if region.level is None or region.dag == EVERY else region.dag.text
    if region.shown is not None:
        return region.shown.text
    if region.reaches_any:
        return "" if region.narrowed else EVERY.text  # of a narrowed list, what it shows is another region
    if region.dag_at < 0:
        return ""
    segment = region.path[region.dag_at]
    return segment.text if isinstance(segment, Glob) else EVERY.text if segment is None else str(segment)


def command_of(found: Witness) -> str:
    """The command that shows it."""
    shows = f"   shows {found.shows}" if found.shows else ""
    return f"authz check {shlex.join(found.words)}{shows}"
