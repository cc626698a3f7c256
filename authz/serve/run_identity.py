"""Wiring of run identity: what is built from the section `run_identity`, and in which order it starts and stops.

No decisions here. Start: first the replay cache, before anything else; then the threads that ask Airflow.
"""

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from authz.authn.run_exchange import AIRFLOW, Exchange
from authz.authn.run_identity import RunIdentities
from authz.authn.run_minter import RunMinter, asking_as
from authz.authn.sessions import Authenticator, KeyState
from authz.check.parts import Runs
from authz.core.assertion import SigningKey
from authz.core.caching.rate_limit import FairShare
from authz.core.errors import ConfigError, Problem
from authz.core.model import Issuer
from authz.core.runs import run_token
from authz.core.runs.proof import WINDOW_S
from authz.core.runs.task_lookup import TaskRef, TaskStatus
from authz.keys import Clock, KeyStore
from authz.ops.metrics import Metrics
from authz.runs.airflow_rest import AirflowRest, Credentials, token_in
from authz.runs.replay_table import Replays
from authz.runs.task_states import TaskStates
from authz.settings import Settings
from authz.settings.run_identity import RunIdentity

log = logging.getLogger(__name__)

# There is room for two minutes; a worker lets one caller use an eighth of its part a minute, so a quarter at most.
_SHARES: Final = 8
_LEAST_SHARE: Final = 64
_LONGEST_LIFE_S: Final = 7 * 86400  # of a task token; Airflow's setting decides how long they really live


class NoAirflow:
    """Stands in where Airflow cannot be asked: the gate issues no tokens, so there are no questions."""

    def ask(self, claim: TaskRef) -> TaskStatus:
        """Fail: there is no Airflow to ask."""
        raise NotImplementedError


class RunParts:
    """All parts of run identity in one process.

    Args:
        settings: with the sections `run_identity` and `assertion`.
        keys: signing keys, newest first.
        authenticator: for the tokens of issuers.
        store: has Airflow's keys.
        clock: the process's.
        metrics: what is counted.
        replays: the replay cache that several processes share; this process's own when not given.

    Raises:
        ConfigError: the replay cache cannot be made.
    """

    def __init__(
        self,
        settings: Settings,
        keys: Sequence[SigningKey],
        *,
        authenticator: Authenticator,
        store: KeyStore,
        clock: Clock,
        metrics: Metrics,
        replays: Path | None,
    ) -> None:
        section = settings.run_identity
        if section is None or settings.assertion is None:
            raise ValueError("there is no run identity without its sections")
        self._section = section
        issuer = settings.assertion.issuer
        self.replays = _table(replays, section.replays)
        self.states = TaskStates(
            _airflow(section, keys[0], issuer, clock), clock, recheck=section.recheck, observe=metrics.airflow_question
        )
        identities = RunIdentities(
            authenticator=authenticator,
            keys=run_token.public_keys(keys),
            issuer=issuer,
            isolated=section.signing_key_isolated,
            states=self.states,
            replays=self.replays,
            share=FairShare(max(_LEAST_SHARE, section.replays // (_SHARES * settings.all_workers)), WINDOW_S),
        )
        self.issuers: tuple[Issuer, ...] = ()
        self._exchange = None
        if section.issues:
            airflow = _issuer(section)
            self.issuers = (airflow,)
            self._exchange = Exchange(
                issuer=airflow,
                minter=RunMinter(
                    keys,
                    issuer=issuer,
                    lifetime=int(section.lifetime),
                    proxy_lifetime=int(section.proxy_lifetime),
                ),
                states=self.states,
                keys=store.view,
                want_key=store.request,
                level=identities.level,
                max_token_bytes=settings.limits.token_bytes,
                clock=clock,
            )
        self.service = Runs(identities=identities, exchange=self._exchange, count=metrics.run_call)
        self._clock, self._metrics = clock, metrics
        metrics.watch_replays(lambda: self.replays.used(clock.wall()))

    def start(self) -> None:
        """Begin to ask Airflow; log the highest assurance level that is reported, and why."""
        level, why = self._section.best
        log.info("run identities have assurance level %s at most%s", level, f": {why}" if why else "")
        self.states.start()

    def stop(self) -> None:
        """Stop asking Airflow."""
        self.states.stop()

    def close(self) -> None:
        """Close the replay cache. Its current metrics stay visible: a worker's last output is its metrics."""
        last = self.replays.used(self._clock.wall())
        self._metrics.watch_replays(lambda: last)
        self.replays.close()

    def key_event(self, name: str, view: Mapping[str, KeyState]) -> None:
        """A fetch of an issuer's keys ended. Any thread."""
        state = view.get(name)
        if self._exchange is not None and name == AIRFLOW and state is not None:
            self._exchange.note_keys(state.keyset)

    def problems(self) -> list[str]:
        """Notes for the operator, for `/readyz`."""
        problem = self.states.problem()
        return [problem] if problem else []


def _table(path: Path | None, slots: int) -> Replays:
    """The replay cache. This process's own has no file name, so that nothing of it is left behind."""
    if path is None:
        with tempfile.TemporaryDirectory(prefix="authz-") as folder:
            return _table(Path(folder) / "replays", slots)
    try:
        # Whatever was used before the table existed ends no later than this.
        return Replays(path, slots, floor=time.time() + WINDOW_S + 1)
    except OSError as error:
        text = f"the replay cache cannot be made: {error.strerror or error}"
        raise ConfigError([Problem(str(path), 0, 0, text)]) from None


def _issuer(section: RunIdentity) -> Issuer:
    """Airflow as the issuer of task tokens. It has no audience on any plane, so none of them is accepted there."""
    return Issuer(
        name=AIRFLOW,
        issuer=section.issuer or "",
        audiences={},
        algorithms=frozenset(section.algorithms),
        max_lifetime=_LONGEST_LIFE_S,
        discovery=False,
        jwks_uri=section.jwks_uri,
        jwks_file=section.jwks_file,
        insecure_http=section.insecure_http,
    )


def _airflow(section: RunIdentity, key: SigningKey, issuer: str, clock: Clock) -> AirflowRest | NoAirflow:
    if section.airflow is None:
        return NoAirflow()
    credentials: Credentials
    if section.airflow_token_file is not None:
        credentials = token_in(Path(section.airflow_token_file))
    else:
        audience = section.audience

        def credentials() -> Mapping[str, str]:
            return asking_as(key, issuer=issuer, audience=audience, now=clock.wall())

    return AirflowRest(section.airflow, credentials, timeout_s=section.timeout, ca=section.airflow_ca)
