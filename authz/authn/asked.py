"""The subject of a question over AuthZEN, where a client asks what another caller may do.

Law: a subject that is only stated is never accepted. It is the token's own, or the token is that of a client which the
settings name: then what it states of the subject is taken for claims, the issuer is the client's own, and roles follow
by the policy as from a token. Anything else is denied, on public routes too. Nothing that is asked here ends a session:
an `AskedSession` is no `Session` that signs out (`authz.check.service`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from authz.authn.sessions import Authenticator, KeyState, KeyWanted, Session
from authz.core.caching.clock_cache import SecondChance
from authz.core.errors import RequestError
from authz.core.model import NO_CLAIMS, HttpRequest, Identity, Plane, made_per_request
from authz.core.policy import Policy
from authz.core.reasons import Reason

_MOST_STATED: Final = 64  # subjects: each may have as many groups as a body has room for
_FIELDS: Final = [field.name for field in fields(HttpRequest)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a question says of its subject. `may_be_stated`: its token is that of the client which asks."""

    id: str
    may_be_stated: bool
    groups: frozenset[str] = frozenset()
    client_id: str = ""
    username: str = ""


_NO_SUBJECT: Final = Subject(id="", may_be_stated=False)


@made_per_request
class AskedRequest(HttpRequest):
    """A request that is asked about, and who would make it."""

    subject: Subject = _NO_SUBJECT


def asked(http: HttpRequest, subject: Subject) -> AskedRequest:
    """The request, asked about for a subject."""
    return AskedRequest(**{name: getattr(http, name) for name in _FIELDS}, subject=subject)


@dataclass(slots=True, eq=False)
class AskedSession(Session):
    """The subject of a question. `proven` is the session of its own token; else the client `stated_by` states it."""

    proven: Session | None = None
    stated_by: str = ""

    @property
    def account(self) -> Session:
        """Whose identity entry it has."""
        return self if self.proven is None else self.proven


class AskingAuthenticator(Authenticator):
    """As `Authenticator`, for questions too.

    Args:
        clients: the names of decision clients, by `iss` and `sub` of their tokens.
        parts: the arguments of `Authenticator`.
    """

    def __init__(self, clients: Mapping[tuple[str, str], str], **parts: Any) -> None:
        super().__init__(**parts)
        self._clients = clients
        self._known: SecondChance[tuple[str, Subject], AskedSession] = SecondChance(_MOST_STATED)

    def authenticate(
        self,
        http: HttpRequest,
        plane: Plane,
        policy: Policy,
        keys: Mapping[str, KeyState],
        *,
        wall: float,
        monotonic: float,
    ) -> Session | KeyWanted | None:
        """See `Authenticator.authenticate`.

        Raises:
            RequestError: also `subject_unproven`, where the subject of a question is.
            TokenError, KeysUnavailableError: as there.
        """
        session = super().authenticate(http, plane, policy, keys, wall=wall, monotonic=monotonic)
        if not isinstance(http, AskedRequest) or not isinstance(session, Session):
            return session
        subject, claims = http.subject, session.claims
        if subject.id == claims.subject:
            return _asked(session, session.identity, proven=session)
        name = self._clients.get((claims.issuer, claims.subject), "")
        if not (name and subject.may_be_stated) or claims.break_glass:
            raise RequestError(Reason.SUBJECT_UNPROVEN, "the token is another subject's, and no decision client's")
        found = self._stated(http.subject, name, session, policy, wall)
        if self.revoked.covers(0, found.claims, session.issuer.clock_skew):
            raise RequestError(Reason.SUBJECT_UNPROVEN, "what was issued to the subject is revoked")
        return found

    def _stated(self, subject: Subject, name: str, session: Session, policy: Policy, wall: float) -> AskedSession:
        """The session of a stated subject. It shares with the one before what can be the same: identity and entry."""
        issuer = session.claims.issuer
        before = self._known.get((name, subject))
        held = self._granted.held(issuer, subject.id, wall)
        if before is None or before.standing.edition != policy.edition or before.identity.held is not held:
            claims = replace(
                NO_CLAIMS,
                issuer_name=session.claims.issuer_name,
                issuer=issuer,
                subject=subject.id,
                client_id=subject.client_id,
                username=subject.username or subject.id,
                groups=subject.groups,
            )
            identity = policy.identify(claims, held)
        else:
            identity = before.identity
        found = _asked(session, identity, stated_by=name)
        if before is not None:
            found.entered = before.entered
        self._known.put((name, subject), found)
        return found


def _asked(session: Session, identity: Identity, *, proven: Session | None = None, stated_by: str = "") -> AskedSession:
    """The subject of a question, for as long as the session of its token is valid."""
    return AskedSession(
        identity,
        session.standing,
        session.starts,
        session.ends,
        session.dies_at,
        session.marks if proven is not None else 0,
        whole=session.whole or proven is None,
        used=proven is not None and session.used,
        proven=proven,
        stated_by=stated_by,
    )
