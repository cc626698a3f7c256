"""Revocations: of sessions, of single tokens, and of all that a person was issued up to a time.

Law 1: a revocation only takes away: adding one, however often, never makes an invalid token valid.
Law 2: a revocation names its issuer (`iss`, not the name that a policy gives it): a `sid` of one issuer says nothing
about another's, and renaming an issuer never restores a session.
Law 3: a revocation is kept for at least an hour after its `until`, so that setting a clock back restores nothing.
Law 4: each of a hundred thousand sessions keeps two keyed hashes of 60 bits. A chance collision (one in 10^13 for
100,000 revocations) costs a user a new login, and an attacker without the key cannot choose one.
Law 5: all share the table, so each subject of an issuer has its share of it (`Shares`): an account that signs out
100,000 tokens is refused, and everyone else's sign-out still works.

Source: OpenID Connect Front- and Back-Channel Logout 1.0 (`sid`), RFC 7519 §4.1.7 (`jti`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b, sha256
from typing import Any, Final

import orjson

from authz.core.jose.primitives import read_object
from authz.core.model import Claims, Issuer
from authz.core.tokens.claims import MAX_TIME, session_ids
from authz.core.tokens.compact import ParsedToken

MOST: Final = 100_000  # revocations kept at a time; a process has some 20 MB of them then
SHARE: Final = MOST // 50  # of them that one process makes for one subject: more than one a minute for a day
ISSUER_SHARE: Final = MOST // 2  # that it makes for an issuer which names sessions alone, and no subject
LONGEST_LINE: Final = 16 * 1024
_LONGEST_VALUE: Final = 256  # characters of an id; of a longer one the hash is kept
_MARK_BITS: Final = 60
_TOKEN_BITS: Final = (1 << _MARK_BITS) - 1
_GRACE_S: Final = 3600


class Kind(StrEnum):
    """What a revocation names; the word is the member's name in the file."""

    SID = "sid"  # a session at the issuer, with all its tokens
    JTI = "jti"  # one token
    TOKEN = "token"  # noqa: S105 one token that has neither, by the SHA-256 of what is signed of it
    SUBJECT = "subject"  # what was issued to a subject up to a moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """One revocation. From `until` on it may be dropped. `before` is a subject's last revoked `iat`.

    `note` is for the reader of the file: who revoked, and when.
    """

    issuer: str
    kind: Kind
    value: str = field(repr=False)
    until: int
    before: int = 0
    note: str = ""

    def is_over(self, now: float) -> bool:
        """Whether it may be dropped."""
        return self.until + _GRACE_S <= now


@dataclass(slots=True)
class PendingRevocation:
    """A revocation to make, and whether it was made: on record, and in force in this process.

    `subject` owns the session; it is "" if only the issuer is known. `refused` says why there was no room.
    """

    revocation: Revocation
    made: bool = False
    subject: str = field(default="", repr=False)
    refused: str = ""


class Shares:
    """How many of the revocations in force were made here for each subject of an issuer.

    Bounded by what is taken: the caller takes only while the table has room, gives back what was not made, and drops
    expired ones from time to time. Not thread-safe.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], dict[int, int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def take(self, attempt: PendingRevocation, now: float) -> bool:
        """Count this one; False: its subject has used its share. One that is already counted takes nothing."""
        who, name, until = _place(attempt)
        held = self._held.setdefault(who, {})
        most = SHARE if attempt.subject else ISSUER_SHARE
        if len(held) >= most and name not in held:
            held = self._held[who] = _lasting(held, now)
            if len(held) >= most:
                return False
        held[name] = max(until, held.get(name, 0))
        return True

    def give_back(self, attempt: PendingRevocation) -> None:
        """Uncount one not made."""
        who, name, _until = _place(attempt)
        self._held.get(who, {}).pop(name, None)

    def forget(self, now: float) -> None:
        """Drop expired ones."""
        lasting = {who: _lasting(held, now) for who, held in self._held.items()}
        self._held = {who: held for who, held in lasting.items() if held}


def _place(attempt: PendingRevocation) -> tuple[tuple[str, str], int, int]:
    revocation = attempt.revocation
    who = revocation.issuer, _short(attempt.subject)
    return who, hash((revocation.kind, _short(revocation.value))), revocation.until


def _lasting(held: dict[int, int], now: float) -> dict[int, int]:
    return {name: until for name, until in held.items() if until + _GRACE_S > now}


def encode(revocation: Revocation) -> bytes:
    """The revocation as a line of the file."""
    members: dict[str, str | int] = {
        "issuer": revocation.issuer,
        revocation.kind.value: _short(revocation.value),
        "until": revocation.until,
    }
    if revocation.kind is Kind.SUBJECT:
        members["before"] = revocation.before
    if revocation.note:
        members["note"] = revocation.note
    return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


def parse(line: bytes) -> Revocation:
    """The revocation in a line; for any other line ValueError, whose text never repeats the line."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE} bytes")
    members = read_object(line)
    kinds = [kind for kind in Kind if kind.value in members]
    if len(kinds) != 1:
        raise ValueError("not exactly one of sid, jti, token and subject")
    kind = kinds[0]
    known = {"issuer", "until", "note", kind.value, *(["before"] if kind is Kind.SUBJECT else [])}
    if not known.issuperset(members):
        raise ValueError("a member that is not known")
    return Revocation(
        issuer=_text(members, "issuer"),
        kind=kind,
        value=_text(members, kind.value),
        until=_time(members, "until"),
        before=_time(members, "before") if kind is Kind.SUBJECT else 0,
        note=_text(members, "note") if "note" in members else "",
    )


def _text(members: dict[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is not a text")
    return value


def _time(members: dict[str, Any], name: str) -> int:
    value = members.get(name)
    if type(value) is not int or not 0 <= value <= MAX_TIME:
        raise ValueError(f"{name} is no time in whole seconds since 1970")
    return value


def of_token(
    parsed: ParsedToken, issuer: Issuer, *, now: float, ends: float, keep: float, note: str = ""
) -> Revocation:
    """What ends the session of a verified token: its `sid`, else its `jti`, else itself.

    Args:
        parsed: the token, verified.
        issuer: its issuer.
        now: seconds since the epoch.
        ends: when the token stops being valid.
        keep: seconds for which a session is remembered; its later tokens are revoked too.
        note: for the reader of the file.
    """
    sid, jti = session_ids(parsed.payload, issuer)
    kind, value = (Kind.SID, sid) if sid else (Kind.JTI, jti) if jti else (Kind.TOKEN, _digest(parsed))
    until = max(ends, now + keep) if kind is Kind.SID else ends
    return Revocation(issuer=issuer.issuer, kind=kind, value=value, until=int(until) + 1, note=note)


class Revoked:
    """All revocations. One thread reads; others write, one at a time.

    Args:
        key: up to 64 random bytes, the process's own.

    Attributes:
        any: whether anything is revoked; if not, a check asks no more.
    """

    __slots__ = ("_keyed", "_marks", "_subjects", "any")

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(digest_size=8, key=key)  # copied for each mark, which is faster
        self._marks: dict[int, int] = {}
        self._subjects: dict[tuple[str, str], tuple[int, int]] = {}
        self.any = False

    def __len__(self) -> int:
        return len(self._marks) + len(self._subjects)

    def marks(self, parsed: ParsedToken, issuer: Issuer) -> int:
        """What a session keeps to look up its token: the marks of its `sid` and of the token, 0 for none.

        Both are in one number, which saves memory.
        """
        sid, jti = session_ids(parsed.payload, issuer)
        name = issuer.issuer
        token = self._mark(name, Kind.JTI, jti) if jti else 0
        if sid:
            return self._mark(name, Kind.SID, sid) << _MARK_BITS | token
        return token or self._mark(name, Kind.TOKEN, _digest(parsed))

    def covers(self, marks: int, claims: Claims, clock_skew: int) -> bool:
        """Whether the token with these marks and claims is revoked. The issuer's clock may be ahead by `clock_skew`."""
        known = self._marks
        if marks & _TOKEN_BITS in known or marks >> _MARK_BITS in known:
            return True
        if not self._subjects:
            return False
        before, _until = self._subjects.get((claims.issuer, _short(claims.subject)), (None, 0))
        return before is not None and (claims.issued_at is None or claims.issued_at <= before + clock_skew)

    def add(self, revocations: Iterable[Revocation]) -> list[Revocation]:
        """Revoke these too; returns those that were not revoked yet, or not for as long.

        Of two that name the same, the longer one is kept.
        """
        news = []
        for revocation in revocations:
            if revocation.kind is Kind.SUBJECT:
                name = revocation.issuer, _short(revocation.value)
                before, until = self._subjects.get(name, (0, 0))
                after = max(before, revocation.before), max(until, revocation.until)
                is_new = after != (before, until)
                self._subjects[name] = after
            else:
                mark = self._mark(revocation.issuer, revocation.kind, revocation.value)
                is_new = revocation.until > self._marks.get(mark, 0)
                self._marks[mark] = max(revocation.until, self._marks.get(mark, 0))
            news += [revocation] if is_new else []
            self.any = True
        return news

    def revoke(self, attempt: PendingRevocation, _done: Callable[[], None]) -> bool:
        """Revoke at once, in this memory alone; see `authz.check.parts.Revoker`."""
        self.add([attempt.revocation])
        attempt.made = True
        return False

    def forget(self, now: float) -> None:
        """Drop expired ones. New tables replace the old ones, which another thread may be reading."""
        limit = now - _GRACE_S
        self._marks = {mark: until for mark, until in self._marks.items() if until > limit}
        self._subjects = {name: entry for name, entry in self._subjects.items() if entry[1] > limit}
        self.any = bool(self._marks or self._subjects)

    def _mark(self, issuer: str, kind: Kind, value: str) -> int:
        mark = self._keyed.copy()
        mark.update(f"{kind._value_}\0{issuer}\0{_short(value)}".encode("utf-8", "surrogatepass"))
        return int.from_bytes(mark.digest()) & _TOKEN_BITS or 1  # 0 is no mark


def _digest(parsed: ParsedToken) -> str:
    """Digest of what is signed, not of the signature: ECDSA has two signatures for the same text."""
    return sha256(parsed.signing_input).hexdigest()


def _short(value: str) -> str:
    if len(value) <= _LONGEST_VALUE:
        return value
    return "sha256:" + sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
