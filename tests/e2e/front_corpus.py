"""The corpus of all fronts: seeded raw requests, what is known of each one's caller, and how they share connections.

Each request has a number, and says it in its User-Agent (`c<number>`), which every front passes on: so whatever arrives
at Airflow is traced to the bytes that asked for it. A request that is hidden in the body of another has its own number.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.attacks import corpus
from tests.e2e.front_site import HOST
from tests.e2e.front_words import (
    DAGS,
    FORGED,
    HARMLESS,
    HEALTH,
    HOSTS,
    IDENTITIES,
    METHODS,
    POOLS,
    QUERIES,
    RUNS,
    SPELLINGS,
    TRICKS,
    TRIGGER,
    VERSION,
)

AGENT: Final = re.compile(r"c(\d+)([ \t].*)?")
"""Also with a folded line behind it."""
MOST_PIPELINED: Final = 5
# What would only be one more line or one more request.
_SPLITS: Final = re.compile(r"[\r\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request. `caller` names who asks, as in `Corpus.lines`; `raw` is all of it, with what it hides."""

    number: int
    caller: str
    raw: bytes
    kind: str

    @property
    def is_head(self) -> bool:
        return self.raw.startswith(b"HEAD ")

    @property
    def writes(self) -> bool:
        """Whether it could change something: those go one at a time, for Airflow's database is SQLite."""
        return self.kind == "trigger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What goes out on a connection at once. `alone`: a connection of its own, read to its end."""

    requests: Sequence[Sent]
    alone: bool = False


class Corpus:
    """The requests of one seed. `lines` has the head lines of each caller: their credentials."""

    def __init__(self, seed: str, count: int, lines: Mapping[str, Sequence[str]]) -> None:
        self.seed, self.count, self._lines = seed, count, lines
        self.callers: dict[int, str] = {}
        self._random = random.Random(seed)  # noqa: S311 a test's corpus
        self._targets = [one for one in corpus.targets() if not _SPLITS.search(one)]
        self._hosts = [one for one in corpus.hosts() if not _SPLITS.search(one)]
        self._headers = [
            one.replace(corpus.HOLE, "a" if one.lower().startswith("cookie") else FORGED)
            for one in corpus.header_lines()
            if not one.lower().startswith(
                ("authorization", "user-agent", "host", "transfer-", "content-length", "expect")
            )
        ]

    def exchanges(self) -> Iterator[Exchange]:
        """All of them, in an order that the seed gives."""
        left = self.count
        while left > 0:
            kind = self._random.choices(list(_KINDS), weights=[weight for weight, _ in _KINDS.values()])[0]
            make = _KINDS[kind][1]
            if kind in {"framing", "malformed", "long", "upgrade", "body"}:
                made = Exchange(requests=[make(self, kind)], alone=kind in {"framing", "upgrade", "body"})
            else:
                many = self._random.randint(2, MOST_PIPELINED) if self._random.random() < 0.06 else 1
                made = Exchange(requests=[make(self, kind) for _ in range(min(many, left))])
            left -= len(made.requests)
            yield made

    # One of each kind.

    def served(self, kind: str) -> Sent:
        """What the policy allows, with lines of the caller's that must change nothing."""
        target, callers = self._choice(
            (HEALTH, ("nobody", "viewer", "user", "wide", "anonymous", "expired", "forged-signature")),
            (VERSION, ("nobody", "viewer", "user", "wide")),
            (HEALTH, ("anonymous", "basic", "other-audience", "garbage")),
            (VERSION, ("viewer", "wide")),
            *([(f"{DAGS}?limit=1", ("viewer", "user"))] if self._chance(0.3) else []),
            *([(f"{DAGS}/sales_one", ("viewer", "user", "wide"))] if self._chance(0.3) else []),
        )
        more = [*self._forged(), *self._sample(HARMLESS, (0, 0, 1, 2))]
        if self._chance(0.15):
            target += f"{'&' if '?' in target else '?'}{self._choice(*QUERIES[:4])}"
        return self._request(
            kind, target, self._choice(*callers), more, method=self._choice("GET", "GET", "GET", "HEAD")
        )

    def denied(self, kind: str) -> Sent:
        """What the policy denies, or a caller without rights."""
        target = self._choice(
            DAGS, POOLS, f"{POOLS}/default_pool", "/api/v2/connections", "/api/v2/config", f"{DAGS}/sales_one", RUNS,
            "/", "/api/v2/variables", "/ui/config", "/auth/token", "/api/v2/importErrors", "/x/y", VERSION,
        )  # fmt: skip
        method = self._choice("GET", "GET", "GET", "GET", "POST", "DELETE", "PATCH", "PUT", "HEAD", "OPTIONS")
        callers = ["anonymous", "expired", "other-audience", "forged-signature", "garbage", "basic", "nobody", "double"]
        if target in {POOLS, f"{POOLS}/default_pool", "/api/v2/connections", "/api/v2/variables", "/x/y", "/ui/config"}:
            callers += ["viewer", "user", "wide"]
        if target == VERSION:
            callers.remove("nobody")
        body = b'{"a": 1}' if method in {"POST", "PATCH", "PUT"} and self._chance(0.5) else b""
        more = [*self._forged(), *self._sample(HARMLESS, (0, 1, 2))]
        return self._request(kind, target, self._choice(*callers), more, method=method, body=body)

    def mutated(self, kind: str) -> Sent:
        """A target, a method, a Host or a version that is not quite what it seems."""
        target = self._choice(
            DAGS, POOLS, HEALTH, VERSION, f"{DAGS}/sales_one", RUNS, "/api/v2/connections", "/", "/x/y"
        )
        what = self._random.random()
        if what < 0.45:
            for _ in range(self._random.randint(1, 2)):
                at = self._choice(0, len(target), self._random.randint(0, len(target)))
                target = target[:at] + self._choice(*TRICKS) + target[at:]
        elif what < 0.62:
            target = self._choice(*self._targets)
        elif what < 0.68:
            target = (
                self._choice("/execution/", "/Execution/x", "/%65xecution", "//execution", "/execution%2frun") + target
            )
        elif what < 0.75:
            place = self._choice(HOST, "other.test", f"{HOST}:443", f"u:p@{HOST}", "", f"{HOST}\\@evil.test")
            target = self._choice("http://", "https://", "HTTP://", "ws://", "//", "http:", "*", "?") + place + target
        if self._chance(0.2):
            target += "?" + self._choice(*QUERIES)
        host = self._choice(*HOSTS, *self._sample(self._hosts, (5,))) if self._chance(0.06) else HOST
        return self._request(
            kind,
            target,
            self._choice("wide", "wide", "wide", "viewer", "user", "nobody", "anonymous", "expired"),
            [*self._forged(), *self._sample([*HARMLESS, *self._headers], (0, 0, 0, 1, 2))],
            method=self._choice(*METHODS, *self._sample(corpus.methods(), (2,))) if self._chance(0.12) else "GET",
            host=None if self._chance(0.01) else host,
            version=self._choice("HTTP/1.0", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 x")
            if self._chance(0.04)
            else "HTTP/1.1",
        )

    def malformed(self, kind: str) -> Sent:
        """What no HTTP server should take: each front refuses it by itself."""
        line = self._choice(
            *(
                "X-Bad : a",
                "X Bad: a",
                ": a",
                "no colon",
                "X-A: a\x00b",
                "X-\x00A: b",
                "X-A: a\r\n folded",
                " X-First: a",
            ),
            *("X-A: a\rX-B: b", "X-A\t: b", "\x0bX: a", "Host: other.test", "Content-Length: 1x", "Content-Length: -1"),
            *("Transfer-Encoding: gzip", "Transfer-Encoding: chunked, identity", "Content-Length: 0, 1", "X-(A): b"),
        )
        method, version, target = "GET", "HTTP/1.1", self._choice(HEALTH, POOLS, DAGS, VERSION)
        if self._chance(0.45):
            line = "X-A: b"
            method, version, target = self._choice(
                ("GE\tT", version, target), ("G@T", version, target), ("", version, target),
                ("GET", "HTTP/3.7", target), ("GET", "HTTP/1.1\t", target), ("GET", "HTTP/1.", target),
                ("GET", "HTTX/1.1", target), ("GET", "", target),
                ("GET", version, f"{target}\x00"), ("GET", version, f"{target} {target}"), ("GET", version, ""),
                ("GET ", version, target), ("GET", version, target[1:]), ("CONNECT", version, f"{HOST}:443"),
                ("CONNECT", version, target), ("\x16\x03\x01", version, target), ("GET", version, f"{target}\x01"),
            )  # fmt: skip
        caller = self._choice("anonymous", "wide", "viewer", "expired")
        return self._request(kind, target, caller, [line], method=method, version=version)

    def long(self, kind: str) -> Sent:
        """Heads beyond what anything takes."""
        many = [f"X-{at}: {'a' * 9_000}" for at in range(20)]
        more = self._choice([f"X-Long: {'a' * 140_000}"], many, [f"X-{at}: a" for at in range(1_500)])
        target = self._choice(HEALTH, f"{HEALTH}?{'a' * 140_000}", f"/{'a' * 140_000}")
        return self._request(kind, target, self._choice("anonymous", "wide"), more)

    def framing(self, kind: str) -> Sent:
        """Two ways to read where a request ends. In each is a hidden one, of another caller; a plain one follows."""
        hidden = self._request("hidden", self._choice(POOLS, DAGS, HEALTH), self._choice("anonymous", "expired"), [])
        secret = hidden.raw
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(secret), secret)
        zero, length = b"0\r\n\r\n" + secret, len(secret)
        lines, body = self._choice(
            (["Content-Length: 5", "Transfer-Encoding: chunked"], zero),
            (["Transfer-Encoding: chunked", f"Content-Length: {len(zero)}"], zero),
            ([f"Content-Length: {length}", "Content-Length: 0"], secret),
            (["Content-Length: 0", f"Content-Length: {length}"], secret),
            ([f"Content-Length: 0{length}"], secret),
            ([f"Content-Length: +{length}"], secret),
            ([f"Content-Length: {length} "], secret),
            ([f"Content-Length:\x0b{length}"], secret),
            ([f"Content-Length: 0, {length}"], secret),
            ([f"Content-Length : {length}"], secret),
            ([f"Content_Length: {length}"], secret),
            ([f"Content-Length: {length + 3}"], secret),
            ([f"X-A: b\r\n Content-Length: {length}"], secret),
            (["Transfer-Encoding: xchunked"], zero),
            (["Transfer-Encoding: Chunked"], zero),
            (["Transfer-Encoding: chunked, chunked"], zero),
            (["Transfer-Encoding: identity", f"Content-Length: {length}"], secret),
            (["Transfer-Encoding : chunked"], zero),
            (["Transfer_Encoding: chunked"], zero),
            (["Transfer-Encoding:\x0bchunked"], zero),
            (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], zero),
            (["Transfer-Encoding:\r\n chunked"], zero),
            (["Transfer-Encoding: chunked"], chunked),
            (["Transfer-Encoding: chunked"], b"0x1\r\na\r\n" + zero),
            (["Transfer-Encoding: chunked"], b"-1\r\n" + zero),
            (["Transfer-Encoding: chunked"], b"1;a=\x00b\r\na\r\n" + zero),
            (["Transfer-Encoding: chunked"], b"1;x\r\na\r\n" + zero),
            (["Transfer-Encoding: chunked"], b"2\r\na\r\n" + zero),
            (["Transfer-Encoding: chunked"], b"1\na\n" + zero),
            (["Transfer-Encoding: chunked"], b"1\r\na\r\n0\r\n\n" + secret),
            (["Transfer-Encoding: chunked"], b"ffffffffffffffff1\r\na\r\n" + zero),
            (["Transfer-Encoding: chunked"], b"\r\n" + zero),
            (["Transfer-Encoding: chunked"], f"1\r\na\r\n0\r\nX-Authz-User: {FORGED}\r\n\r\n".encode() + secret),
            (
                ["Transfer-Encoding: chunked", "Trailer: x-authz-user, authorization"],
                f"1\r\na\r\n0\r\nX-Authz-User: {FORGED}\r\nAuthorization: {FORGED}\r\n\r\n".encode(),
            ),
            (["Expect: 100-continue", f"Content-Length: {length}"], secret),
            (["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"], secret),
            (["X-A: b\n\nGET /api/v2/pools HTTP/1.1\nHost: gate.test"], b""),
        )
        # Nothing of these changes anything at Airflow: a GET, or a method that the caller may not use.
        method, target, caller = self._choice(
            ("GET", HEALTH, "wide"), ("POST", HEALTH, "anonymous"), ("GET", VERSION, "viewer"), ("POST", DAGS, "wide"),
            ("GET", f"{DAGS}/sales_one", "viewer"), ("POST", VERSION, "nobody"), ("GET", POOLS, "wide"),
        )  # fmt: skip
        last = self._request("last", HEALTH, "anonymous", ["Connection: close"])
        return self._request(kind, target, caller, lines, method=method, after=body + last.raw)

    def upgrade(self, kind: str) -> Sent:
        """A caller who would speak another protocol from now on."""
        key = f"Sec-WebSocket-Key: {'YWFh' * 5}YQ=="
        lines = self._choice(
            ["Connection: Upgrade", "Upgrade: websocket", key, "Sec-WebSocket-Version: 13"],
            ["Connection: upgrade", "Upgrade: h2c"],
            ["Connection: close, upgrade", "Upgrade: TLS/1.0, HTTP/1.1"],
            ["Connection: Upgrade", "Upgrade: connect-udp"],
        )  # fmt: skip
        last = self._request("last", HEALTH, "anonymous", ["Connection: close"])
        target = self._choice(HEALTH, VERSION, POOLS)
        return self._request(kind, target, self._choice("wide", "viewer", "anonymous"), lines, after=last.raw)

    def body(self, kind: str) -> Sent:
        """A whole body with a GET or with a POST that is denied, and one where `Expect` asks first."""
        data = self._choice(b"a=b", b"x" * 20_000, b"\x00\r\n\r\nGET / HTTP/1.1\r\n")
        more = self._choice([], ["Expect: 100-continue"], ["Expect: 200-ok"], ["Content-Type: application/json"])
        method, target = self._choice(
            ("GET", HEALTH), ("POST", DAGS), ("PUT", POOLS), ("GET", VERSION), ("POST", HEALTH)
        )
        caller = self._choice("wide", "viewer", "anonymous")
        return self._request(kind, target, caller, [*more, "Connection: close"], method=method, body=data)

    def trigger(self, kind: str) -> Sent:
        """The only thing here that changes Airflow: a run of an empty DAG."""
        more = [*self._forged(), "Content-Type: application/json"]
        return self._request(kind, RUNS, self._choice("user", "user", "viewer"), more, method="POST", body=TRIGGER)

    # What they are made of.

    def _request(
        self,
        kind: str,
        target: str,
        caller: str,
        more: Sequence[str],
        *,
        method: str = "GET",
        host: str | None = HOST,
        version: str = "HTTP/1.1",
        body: bytes = b"",
        after: bytes = b"",
    ) -> Sent:
        number = len(self.callers)
        self.callers[number] = caller
        named = [f"User-Agent: c{number}", *self._lines[caller], *more]
        if kind not in {"malformed", "framing"}:
            self._random.shuffle(named)
        first = " ".join(part for part in (method, target, version) if part or kind != "malformed")
        lines = [first, *([f"Host: {host}"] if host is not None else []), *named]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        raw = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body + after
        return Sent(number=number, caller=caller, raw=raw, kind=kind)

    def _forged(self) -> list[str]:
        if self._chance(0.6):
            return []
        names = self._sample(IDENTITIES, (1, 2, 3))
        spelling = self._choice(*SPELLINGS)
        lines = [f"{spelling(name)}: {FORGED}" for name in names]
        lines += self._choice([], [], lines, [f"Cookie: _token={FORGED}"], [f"Cookie: BearerToken={FORGED}; a=b"])
        return lines + self._choice([], [], [f"Connection: {names[0]}"], [f"Proxy-Authorization: Bearer {FORGED}"])

    def _choice(self, *of: Any) -> Any:
        return self._random.choice(of)

    def _chance(self, of: float) -> bool:
        return self._random.random() < of

    def _sample(self, of: Sequence[str], many: Sequence[int]) -> list[str]:
        return self._random.sample(of, self._random.choice(many))


_KINDS: Final[Mapping[str, tuple[float, Callable[[Corpus, str], Sent]]]] = {
    "served": (27, Corpus.served),
    "denied": (27, Corpus.denied),
    "mutated": (28, Corpus.mutated),
    "malformed": (8, Corpus.malformed),
    "framing": (5, Corpus.framing),
    "long": (0.8, Corpus.long),
    "upgrade": (1.2, Corpus.upgrade),
    "body": (2, Corpus.body),
    "trigger": (0.7, Corpus.trigger),
}
"""How many of each in a hundred, and what makes one."""
