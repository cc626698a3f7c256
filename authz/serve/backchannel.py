"""The back-channel listener of one process, from the settings.

Law: without `revocation.backchannel` in the settings there is none.
"""

from collections.abc import Callable

from authz.core.clock import Clock
from authz.core.policy import Policy
from authz.core.revocation import PendingRevocation
from authz.keys import KeyStore
from authz.ops.http_server import SmallServer
from authz.sessions.backchannel import MOST_BODY, Backchannel
from authz.settings import Settings


def backchannel_of(
    settings: Settings,
    *,
    policy: Callable[[], Policy | None],
    keys: KeyStore,
    revoke: Callable[[PendingRevocation, Callable[[], None]], bool],
    clock: Clock,
) -> SmallServer | None:
    """The server, not started; None where the settings have none.

    Raises:
        OSError: the address cannot be listened on.
    """
    revocation = settings.revocation
    if revocation.backchannel is None:
        return None
    login = settings.envoy.inbound.login if settings.envoy and settings.envoy.inbound else None
    judge = Backchannel(
        policy=policy,
        keys=keys.view,
        want_key=keys.request,
        revoke=revoke,
        clients=frozenset((*revocation.clients, *([login.client_id] if login else []))),
        keep=revocation.keep,
        clock=clock,
    )
    return SmallServer(revocation.backchannel, judge.answer, most_body=MOST_BODY, name="backchannel")
