"""Wiring: what is built, and in which order it starts and stops. No decisions here.

Start: decision log, spans, salts → policy and its ends → keys → questions to Airflow → grants → admin → watchers →
revoker → engine. Stop, in reverse: health off → drain → revoker → watchers → admin → grants → questions → keys → spans
and decision log flushed, and losses reported.
"""

import contextlib
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.authn.sessions import Authenticator
from authz.check.break_glass import Alarm
from authz.check.parts import Snapshot
from authz.check.service import Service
from authz.core.assertion import SigningKey
from authz.core.cases import Suite
from authz.core.documents.yaml_document import MAX_BYTES
from authz.core.errors import Problem
from authz.core.model import HttpRequest
from authz.core.policy import Policy
from authz.core.revocation import Revoked
from authz.keys import Fetcher, KeyStore, SystemClock
from authz.ops.admin import AdminServer, Readiness
from authz.ops.file_watcher import Watcher
from authz.ops.http_server import SmallServer
from authz.ops.kept_policy import KeptPolicy
from authz.ops.metrics import Metrics
from authz.ops.named_files import NamedFiles
from authz.ops.policy_file import PolicyFile
from authz.ops.readiness_log import ReadinessLog
from authz.serve.backchannel import backchannel_of
from authz.serve.decision_log import LogParts
from authz.serve.engines import asking, engine_of
from authz.serve.grants import GrantParts
from authz.serve.issuer_keys import fetcher_of, options_of, state_of
from authz.serve.policy_warnings import PolicyWarnings
from authz.serve.shadow import ShadowParts
from authz.serve.signing_keys import load_keys, minter_of
from authz.serve.tracing import TraceParts
from authz.sessions.revocation_file import MOST_BYTES
from authz.sessions.revoker import Revoker
from authz.settings import Settings
from authz.settings.certificates import Certificates
from authz.settings.named_files import named
from authz.system import signals, threads
from authz.system.threads import Background

if TYPE_CHECKING:
    from authz.serve.run_identity import RunParts

log = logging.getLogger(__name__)

_COLLECTOR: Final = (10_000, 50, 100)  # more objects since the last run, and runs of one generation per run of the next
_READINESS_S: Final = 0.2  # how often health is compared with what is loaded


class App:
    """One serving process.

    Args:
        settings: what to serve, and where.
        fetcher: gets key sets; over the network when not given.
        log_lock: a file to lock around writes to the decision log, if other processes write to it too.
        replays: the replay cache, if other processes share it.
        worker: its number among the workers.
        quiet: another process reports a successful start.
        over_http: it answers checks over HTTP, not Envoy's.
        lints: this process logs lint's warnings about each policy.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        fetcher: Fetcher | None = None,
        log_lock: Path | None = None,
        replays: Path | None = None,
        worker: int = 0,
        quiet: bool = False,
        lints: bool = True,
        over_http: bool = False,
    ) -> None:
        self.settings = settings
        self._start_level = logging.DEBUG if quiet else logging.INFO
        self.clock = SystemClock()
        self.state = state_of(settings)
        self.metrics = Metrics(worker, self.clock.wall)
        signing_keys = load_keys(settings)
        self.minter = minter_of(settings, signing_keys)
        self.keys = self._key_store(fetcher)
        self.shadow = ShadowParts(settings, self.metrics, self._disagreements)
        self.policy = self._policy_file(lints=lints)
        self.log = LogParts(settings, log_lock, worker, self.clock)
        self.sink = self.log.sink
        self.tracing = TraceParts(settings, self.metrics, worker)
        revoked = Revoked(os.urandom(32))
        file = Path(settings.revocation.file) if settings.revocation.file else None
        self.revoker = Revoker(revoked, file, self.clock, self.log.enter_revocation if lints else None)
        self.grants = self._grants(revoked, announces=lints)
        authenticator, parse = self._readers(revoked, over_http=over_http)
        self.runs = self._runs(signing_keys, authenticator, replays)
        self.service = Service(
            snapshot=self._snapshot,
            successor=self.policy.in_force.at,
            authenticator=authenticator,
            minter=self.minter,
            clock=self.clock,
            recorder=self.tracing.recorder(self.log.recorder, self.clock.wall),
            observe=self.metrics.check,
            want_key=self.keys.request,
            branding=settings.pages.branding,
            revoker=self.revoker,
            keep=settings.revocation.keep,
            runs=self.runs.service if self.runs is not None else None,
            privacy=self.log.privacy,
            shadow=self.shadow.service,
            alarm=Alarm(self.metrics.break_glass),
            parse=parse,
        )
        self.engine = engine_of(settings, self.log.durable(self.service), self.metrics, over_http=over_http)
        named_files = NamedFiles(Path(settings.policy))
        self.policy_watcher = Watcher(Path(settings.policy), self.policy.take, most_bytes=MAX_BYTES, others=named_files)
        self.watchers = [self.policy_watcher, *self._revocation_watcher(file), *self.shadow.watchers]
        shown = self.metrics, self.readiness, self.minter.jwks
        self.admin = AdminServer(
            settings.admin.listen, *shown, grants=self.minter.grants.find, access=self.grants.answer
        )
        self.backchannel = self._backchannel()
        self.certificates = Certificates(named(settings))
        self._ended, self._look_now = threading.Event(), threading.Event()
        self._ending = self._listening = False

    def run(self, started: Callable[[Sequence[str]], None] | None = None) -> int:
        """Serve until SIGTERM or SIGINT; returns the exit status.

        Raises:
            OSError: an address cannot be bound.
        """
        self.metrics.watch_keys(self._key_ages)
        self.metrics.watch_sink(self.sink.status)
        self.metrics.watch_clock(self.clock.divergence)
        if self.state is not None:
            self.metrics.watch_state(self.state.failed)
        self.metrics.watch_revocations(self.revoker.status)
        self.metrics.watch_certificates(lambda: self.certificates.ends(self.clock.monotonic()))
        monitor = Background(self._follow_readiness, name="readiness")
        with contextlib.ExitStack() as running:
            running.callback(self._close_log)
            self.log.start()
            running.callback(self.log.stop)
            self.tracing.start()
            running.callback(self.tracing.stop)
            if self.runs is not None:
                running.callback(self.runs.close)
            self.policy_watcher.begin()
            self.policy.in_force.start()
            running.callback(self.policy.in_force.stop)
            self.keys.start()
            running.callback(self.keys.stop)
            if self.runs is not None:
                self.runs.start()
                running.callback(self.runs.stop)
            parts: list[GrantParts | AdminServer | Watcher | Revoker]
            parts = [self.grants, self.admin, *self.watchers, self.revoker]
            for part in parts:
                part.start()
                running.callback(part.stop)
            if self.backchannel is not None:
                self.backchannel.start()
                running.callback(self.backchannel.stop)
            running.enter_context(signals.handled(self._end, self._hang_up))
            monitor.start()
            running.callback(monitor.join)
            running.callback(self._look_now.set)
            running.callback(self._ended.set)
            self.engine.run(lambda addresses: self._started(addresses, started))
        return 0

    def readiness(self) -> Readiness:
        """Whether checks can be evaluated, and everything that is wrong."""
        now = self.clock.monotonic()
        view = self.keys.view()
        keys = {name: state.problem(now) for name, state in view.items()}
        policy = self.policy.current
        issuers = {issuer.name for issuer in policy.issuers.values()} if policy is not None else set()
        problems = [f"policy: {note}" for note in self.policy.notes()]
        problems += [f"keys of issuer {name}: {note}" for name, state in view.items() if (note := state.note(now))]
        problems += self.state.problems() if self.state is not None else []
        failed = self.sink.status().failed
        problems += self.log.problems()
        problems += [*self.revoker.problems(), *self.grants.problems()]
        problems += self.runs.problems() if self.runs is not None else []
        problems += threads.problems()
        problems += self.certificates.warnings(now, self.clock.wall())
        clock = self.clock.problem()
        problems += [problem for problem in (clock, self.policy.in_force.problem()) if problem]
        problems += ["shutting down"] if self._ending else []
        problems += [] if self._listening else ["not listening yet"]
        denies_all = self._ending or (bool(failed) and self.settings.audit.on_failure == "deny")
        return Readiness(
            ready=policy is not None
            and any(not text for name, text in keys.items() if name in issuers)
            and not denies_all
            and self._listening,
            reasons=tuple(problems),
            details=self._details(policy),
        )

    def _runs(
        self, keys: Sequence[SigningKey], authenticator: Authenticator, replays: Path | None
    ) -> "RunParts | None":
        if self.settings.run_identity is None:
            return None
        from authz.serve.run_identity import RunParts  # noqa: PLC0415 an HTTP client that only run identity needs

        return RunParts(
            self.settings,
            keys,
            authenticator=authenticator,
            store=self.keys,
            clock=self.clock,
            metrics=self.metrics,
            replays=replays,
        )

    def _revocation_watcher(self, file: Path | None) -> Iterator[Watcher]:
        """It waits for no file to settle: a half-written line is recognised as such, and a sign-out must not wait."""
        if file is not None:
            yield Watcher(file, lambda _content: self.revoker.refresh(), most_bytes=MOST_BYTES, settle_s=0)

    def _end(self) -> None:
        """SIGTERM: report it everywhere at once, then drain."""
        self._ending = True
        self.engine.stop()

    def _readers(self, revoked: Revoked, *, over_http: bool) -> tuple[Authenticator, Callable[[bytes], HttpRequest]]:
        """What reads credentials, and what reads messages."""
        make, parse = asking(self.settings, self.tracing.parse, over_http=over_http)
        limits = self.settings.limits
        authenticator = make(
            capacity=limits.cached_tokens,
            max_token_bytes=limits.token_bytes,
            count=self.metrics.token_cache,
            revoked=revoked,
            granted=self.grants.granted,
        )
        return authenticator, parse

    def _grants(self, revoked: Revoked, *, announces: bool) -> GrantParts:
        return GrantParts(
            self.settings,
            self.keys,
            self.clock,
            self.metrics,
            revoked=revoked,
            policy=self._in_force,
            announces=announces,
            saw=self.log.enter_grant,
        )

    def _in_force(self) -> Policy | None:
        return self.policy.in_force.current

    def _backchannel(self) -> SmallServer | None:
        return backchannel_of(
            self.settings,
            policy=lambda: self.policy.current,
            keys=self.keys,
            revoke=self.revoker.revoke,
            clock=self.clock,
        )

    def _snapshot(self) -> Snapshot:
        return Snapshot(self.policy.in_force.current, self.keys.view())  # by position: every check makes one

    def _details(self, policy: Policy | None) -> dict[str, object]:
        section = self.settings.run_identity
        runs = {} if section is None else {"run_identity": section.report}
        return {"revision": policy.revision if policy else "", **runs, **self.shadow.details(policy)}

    def _policy_file(self, *, lints: bool) -> PolicyFile:
        path = Path(self.settings.policy)
        kept = KeptPolicy(self.state, self.clock.wall) if self.state is not None else None
        look = PolicyWarnings(self.settings, self.clock.wall).log if lints else None
        return PolicyFile(
            path,
            check=self._disagreements,
            accept=self._accept,
            events=self.metrics,
            kept=kept,
            look=look,
            wall=self.clock.wall,
        )

    def _key_store(self, fetcher: Fetcher | None) -> KeyStore:
        fetcher = fetcher or fetcher_of(self.settings, self.state, self.clock)
        return KeyStore(fetcher, self.clock, options_of(self.settings), self._key_event)

    def _disagreements(self, suite: Suite) -> Sequence[Problem]:
        if self.settings.envoy is None:
            return ()
        from authz.serve import agreement  # noqa: PLC0415 not needed if Envoy is configured elsewhere

        return agreement.mistakes(suite.policy, self.settings, "settings", suite.never)

    def _accept(self, policy: Policy) -> None:
        of_airflow = self.runs.issuers if self.runs is not None else ()
        issuers = (*policy.issuers.values(), *of_airflow)
        self.metrics.issuers(issuer.name for issuer in issuers)
        self.keys.configure(issuers)
        self.shadow.beside(policy)
        self.log.enter_policy(policy)

    def _key_event(self, name: str, result: str) -> None:
        self.metrics.key_refresh(name, result)
        if self.runs is not None:
            self.runs.key_event(name, self.keys.view())

    def _key_ages(self) -> dict[str, float]:
        now = self.clock.monotonic()
        return {name: now - state.fetched_at for name, state in self.keys.view().items() if state.keyset is not None}

    def _started(self, addresses: Sequence[str], on_started: Callable[[Sequence[str]], None] | None) -> None:
        self._listening = True
        self._look_now.set()
        policy = self.policy.current
        log.log(
            self._start_level,
            "listening on %s, admin on %s, policy %s",
            ", ".join(addresses),
            self.settings.admin.listen,
            policy.revision[:12] if policy is not None else "none",
        )
        if on_started is not None:
            on_started(addresses)

    def _follow_readiness(self) -> None:
        """Health follows readiness; its changes are logged with their reasons."""
        began, serving = time.monotonic(), None
        changes = ReadinessLog("ready", level=self._start_level)
        while True:
            now = self._readiness_whatever_happens()
            if now.ready != serving:
                serving = now.ready
                self.engine.set_serving(serving=serving)
            changes.look(now, since_start=time.monotonic() - began)
            self._look_now.wait(_READINESS_S)
            self._look_now.clear()
            if self._ended.is_set():
                return

    def _readiness_whatever_happens(self) -> Readiness:
        try:
            return self.readiness()
        except Exception:
            # The thread's outermost handler: a bug in a check must not leave an outdated health status for good.
            log.exception("finding out whether checks can be answered")
            return Readiness(ready=False, reasons=("internal error: see the log",))

    def _hang_up(self) -> None:
        """SIGHUP: reopen the log file, and reload the policy off the serving thread."""
        self.sink.reopen()
        for watcher in (self.policy_watcher, *self.shadow.watchers):
            watcher.ask()

    def _close_log(self) -> None:
        lost = self.sink.close()
        if lost:
            log.error("%d decision records could not be written", lost)


def freeze_gc() -> None:
    """Keep the cycle collector from looking again at the objects that exist once the process listens.

    It would stop the serving thread for some 50 ms each time, for modules and a large policy. A replaced policy is
    freed nevertheless: it has no cycles. Neither has what a check leaves behind, so the collector runs rarely: with the
    usual thresholds it took 8 µs of every check with a new token, and found nothing.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECTOR)
