"""Temporary access in one process, from the settings: the table that checks read, the file, and the port's answers.

Law: without `grants.file` in the settings no check pays for it, and requests are answered with what to set.
"""

from collections.abc import Callable
from pathlib import Path

from authz.authn.sessions import Authenticator
from authz.core.clock import Clock
from authz.core.grants import Granted
from authz.core.grants.events import Event
from authz.core.policy import Policy
from authz.core.revocation import Revoked
from authz.keys import KeyStore
from authz.ops.http_server import Asked, Page
from authz.ops.metrics import Metrics
from authz.sessions.granter import Granter
from authz.sessions.grants_port import EVENTS, RESULTS, GrantsPort, not_enabled
from authz.settings import Settings

_CACHED_TOKENS = 1000  # of those who ask; checks have their own


class GrantParts:
    """What follows the grants file and answers requests; nothing where the settings name no file.

    Args:
        settings: the settings.
        keys: the issuers' keys.
        clock: the time.
        metrics: count requests, and show what is in force.
        revoked: what is revoked.
        policy: the policy in force.
        announces: this process logs what `authz grant --local` recorded.
        saw: is called with each event that is logged here.

    Attributes:
        granted: what checks read; None where there are no grants.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        keys: KeyStore,
        clock: Clock,
        metrics: Metrics,
        *,
        revoked: Revoked,
        policy: Callable[[], Policy | None],
        announces: bool,
        saw: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        self.granted: Granted | None = None
        self._granter: Granter | None = None
        self._port: GrantsPort | None = None
        self._policy = policy
        if not settings.grants.file:
            return
        self.granted = Granted()
        path = Path(settings.grants.file)
        self._granter = granter = Granter(self.granted, path, clock, announces=announces, saw=saw)
        authenticator = Authenticator(
            capacity=_CACHED_TOKENS,
            max_token_bytes=settings.limits.token_bytes,
            count=lambda _result: None,
            revoked=revoked,
        )
        self._port = GrantsPort(
            granter=granter,
            policy=policy,
            authenticator=authenticator,
            keys=keys.view,
            want_key=keys.request,
            clock=clock,
            count=metrics.grant_event,
        )
        metrics.watch_grants(
            lambda: granter.status(policy()), [(event, result) for event in EVENTS for result in RESULTS]
        )

    def answer(self, asked: Asked) -> Page:
        """The page for a request about temporary access."""
        return not_enabled(asked) if self._port is None else self._port.answer(asked)

    def problems(self) -> list[str]:
        """Notes for the operator, for `/readyz`."""
        if self._granter is not None:
            return self._granter.problems()
        policy = self._policy()
        if policy is not None and policy.grantable:
            return ["the policy has `grantable`, and nothing of it can be granted: set `grants.file` in the settings"]
        return []

    def start(self) -> None:
        """Begin to follow the file."""
        if self._granter is not None:
            self._granter.start()

    def stop(self) -> None:
        """Stop following it."""
        if self._granter is not None:
            self._granter.stop()
