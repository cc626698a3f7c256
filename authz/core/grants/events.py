"""The events of grants, and the lines of the file that record them.

Law: strict. A line is one JSON object with exactly the members of its event; a member that is not known, a duplicate,
a wrong type or a value out of bounds makes it no event. Times are whole seconds since the epoch, durations whole
seconds. The text of an error never repeats the line.

    {"event":"request","id":"3f…","at":1800000000,"entry":"sales-oncall","issuer":"https://…","subject":"8a…",
     "name":"ana","seconds":10800,"reason":"incident 4711"}
    {"event":"approve","id":"3f…","at":1800000060,"issuer":"https://…","subject":"77…","name":"bo"}
    {"event":"end","id":"3f…","at":1800010860}

In a request `issuer` and `subject` are those of the future holder, and `"open":true` says that it needed no approval.
`"local":"root"` says that an account of the gate's machine did it, with `authz grant … --local`. An end by neither a
person nor such an account was seen by the gate: the time was over.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from authz.core.characters import one_line
from authz.core.jose.primitives import read_object
from authz.core.model import LONGEST_GRANT_S
from authz.core.tokens.claims import MAX_TIME

MOST_REASON: Final = 500  # characters
MOST_NAME: Final = 200  # of what a person is shown as; a longer name is cut
MOST_SUBJECT: Final = 1024  # of an issuer or a subject; a token's may have as many bytes
LONGEST_LINE: Final = 16 * 1024
_ID: Final = re.compile(r"[0-9a-z]{8,42}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """An identity by issuer (`iss`) and subject, with its name for readers; or an account of the machine, `local`."""

    issuer: str = ""
    subject: str = ""
    name: str = field(default="", compare=False)
    local: str = ""

    def __str__(self) -> str:
        if self.local:
            return one_line(f"local {self.local}")
        return one_line(f"{self.name or self.subject} (sub {self.subject} of {self.issuer})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """Someone asks for an entry. `open`: it needs no approval, and is in force at once. `local`: who asked for them."""

    id: str
    at: int
    holder: Actor
    entry: str
    seconds: int
    reason: str
    open: bool = False
    local: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An approver agrees; the duration counts from here."""

    id: str
    at: int
    by: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """It has ended, or will never begin. `by` is None when its time was over."""

    id: str
    at: int
    by: Actor | None = None


Event = Requested | Approved | Ended


def encode(event: Event) -> bytes:
    """The event as a line of the file."""
    members: dict[str, object]
    if isinstance(event, Requested):
        members = {"event": "request", "id": event.id, "at": event.at, "entry": event.entry, **_who(event.holder)}
        members |= {"seconds": event.seconds, "reason": event.reason}
        members |= {"open": True} if event.open else {}
        members |= {"local": event.local} if event.local else {}
    else:
        word = "approve" if isinstance(event, Approved) else "end"
        members = {"event": word, "id": event.id, "at": event.at, **_who(event.by)}
    return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


def parse(line: bytes) -> Event:
    """The event in a line; for any other line ValueError, whose text never repeats the line."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE} bytes")
    members = read_object(line)
    word = members.pop("event", None)
    name, at = _text(members, "id", 42), _whole(members, "at", 0, MAX_TIME)
    if not _ID.fullmatch(name):
        raise ValueError("the id is not one of ours")
    found: Event
    if word == "request":
        local = _text(members, "local", MOST_NAME) if "local" in members else ""
        is_open = "open" in members
        if is_open and members.pop("open") is not True:
            raise ValueError("open is not true")
        found = Requested(
            id=name,
            at=at,
            entry=_text(members, "entry", MOST_NAME),
            holder=_identity(members),
            seconds=_whole(members, "seconds", 1, LONGEST_GRANT_S),
            reason=_text(members, "reason", MOST_REASON),
            open=is_open,
            local=local,
        )
    elif word == "approve":
        found = Approved(id=name, at=at, by=_actor(members))
    elif word == "end":
        is_by_time = members.keys().isdisjoint({"issuer", "subject", "local"})
        found = Ended(id=name, at=at, by=None if is_by_time else _actor(members))
    else:
        raise ValueError("the event is not one of request, approve and end")
    if members:
        raise ValueError("a member that is not known")
    return found


def _who(actor: Actor | None) -> dict[str, object]:
    if actor is None:
        return {}
    if actor.local:
        return {"local": actor.local}
    named = {"name": actor.name} if actor.name else {}
    return {"issuer": actor.issuer, "subject": actor.subject, **named}


def _actor(members: dict[str, Any]) -> Actor:
    return Actor(local=_text(members, "local", MOST_NAME)) if "local" in members else _identity(members)


def _identity(members: dict[str, Any]) -> Actor:
    issuer, subject = _text(members, "issuer", MOST_SUBJECT), _text(members, "subject", MOST_SUBJECT)
    return Actor(issuer=issuer, subject=subject, name=_text(members, "name", MOST_NAME) if "name" in members else "")


def _text(members: dict[str, Any], name: str, most: int) -> str:
    value = members.pop(name, None)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise ValueError(f"{name} is not a text of 1 to {most} characters")
    return value


def _whole(members: dict[str, Any], name: str, least: int, most: int) -> int:
    value = members.pop(name, None)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is not a whole number from {least} to {most}")
    return value
