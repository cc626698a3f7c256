"""Mints run identity tokens for tasks, and the assertion with which the gate asks Airflow about tasks.

Law: both are signed with the gate's newest key, like assertions for destinations. A task's token is only for the
outbound side of this gate; an assertion for Airflow is for Airflow only. Used by several threads.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import orjson

from authz.core import assertion
from authz.core.model import NO_CLAIMS, DagGrant, Identity, Level, Rights, Run
from authz.core.runs import run_token
from authz.core.runs.run_request import RunRequest
from authz.core.runs.task_lookup import TaskRef

_ASKER: Final = replace(NO_CLAIMS, subject="authz", client_id="authz", username="authz")
_READS_ALL: Final = Rights(DagGrant(("*",)), "viewer", ())


class RunMinter:
    """Signs for runs.

    Args:
        keys: signing keys, newest first; at least one.
        issuer: `iss` of what is signed.
        lifetime: seconds of a token that is bound to a key.
        proxy_lifetime: seconds of a token for proxies.
    """

    def __init__(
        self, keys: Sequence[assertion.SigningKey], *, issuer: str, lifetime: int, proxy_lifetime: int
    ) -> None:
        self._key = keys[0]
        self._issuer = issuer
        self._audience = run_token.audience(issuer)
        self._lifetime = lifetime
        self._proxy_lifetime = proxy_lifetime

    def variable(self, asked: RunRequest, claim: TaskRef, try_number: int, level: Level, now: float) -> bytes:
        """The "variable" that the task asked for, in Airflow's format.

        `level` is the highest that the gate will report for a call with the token.
        """
        run = Run(claim.dag_id, claim.run_id, claim.task_id, claim.map_index, try_number, level)
        lifetime = self._proxy_lifetime if asked.proxy else self._lifetime
        token = run_token.mint(
            run,
            instance=claim.instance,
            thumbprint=None if asked.proxy else asked.thumbprint,
            issuer=self._issuer,
            audience=self._audience,
            now=int(now),
            jti=os.urandom(12).hex(),
            key=self._key,
            lifetime=lifetime,
        )
        value = orjson.dumps({"token": token, "expires_in": lifetime, "level": level.value}).decode()
        return orjson.dumps({"key": asked.key, "value": value})


def asking_as(key: assertion.SigningKey, *, issuer: str, audience: str, now: float) -> Mapping[str, str]:
    """The headers with which the gate asks Airflow: they let it read every DAG, and nothing else."""
    token = assertion.mint(
        Identity(claims=replace(_ASKER, issuer=issuer), roles=frozenset()),
        _READS_ALL,
        audience=audience,
        issuer=issuer,
        now=int(now),
        lifetime=assertion.MAX_LIFETIME,
        jti=os.urandom(12).hex(),
        key=key,
    )
    return {assertion.HEADER: token}
