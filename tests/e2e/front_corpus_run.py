"""Sends a corpus through one front, and puts side by side what was sent, answered, recorded, and what arrived."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from authz.core.edge import DECISION
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_corpus import AGENT, Corpus, Exchange, Sent
from tests.e2e.front_corpus_site import GROUPS, CorpusSite
from tests.e2e.front_tap import Arrived
from tests.e2e.raw_http import Connection, RawResponse
from tests.support.factories.tokens import make_key, sign

CONNECTIONS: Final = 8
PATIENCE_S: Final = 20.0
"""For one answer: on a busy machine Airflow may take long."""
OF_WHAT_FOLLOWS_S: Final = 1.0
"""For answers to what stands behind a request in doubt. No test asks about them: what arrives counts."""
STRANGER: Final = make_key("ES256", kid="fronts")
"""Of the same name as the provider's key, and not it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the caller of one request saw: `answer` is None where the connection ended without one. `reached` is
    false where it ended before the front came to this request, which an earlier one of the same connection did."""

    sent: Sent
    answer: RawResponse | None
    reached: bool = True

    @property
    def decision(self) -> str | None:
        """The id of the gate's decision; an answer without one is the front's own."""
        return self.answer.header(DECISION) if self.answer else None


@dataclass(kw_only=True)
class Report:
    """All of one run.

    `arrived` is what Airflow was sent, `untidy` what of it is no request, `records` what the gate decided by the
    decisions' ids, `found` the answers of `front_guarantees`.
    """

    name: str
    corpus: Corpus
    outcomes: Sequence[Outcome]
    arrived: Sequence[Arrived]
    untidy: Sequence[str]
    records: dict[str, dict[str, Any]] = field(repr=False)
    found: dict[str, str] = field(default_factory=dict)

    @cached_property
    def by_number(self) -> dict[int, Outcome]:
        return {one.sent.number: one for one in self.outcomes}

    def number(self, arrived: Arrived) -> int | None:
        """Which request of the corpus this is; None if it does not say."""
        said = [AGENT.fullmatch(value) for value in arrived.request.all("user-agent")]
        return int(said[0][1]) if len(said) == 1 and said[0] else None

    def record(self, arrived: Arrived) -> dict[str, Any]:
        """The gate's record of the decision that it arrived with; empty if there is none, which is a test's to say."""
        ids = arrived.request.all(DECISION)
        return self.records.get(ids[0], {}) if len(ids) == 1 else {}

    def denies(self, outcome: Outcome) -> bool:
        """Whether the gate refused it, by its own record."""
        record = self.records.get(outcome.decision or "")
        return record is not None and record["decision"] == "deny"

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many were served, denied by the gate and refused by the front; `unreached` never came to be read."""
        arrived = {self.number(one) for one in self.arrived}
        kinds = Counter(self._kind(one, arrived) for one in self.outcomes)
        return {kind: kinds[kind] for kind in ("served", "denied", "refused", "unreached")}

    def _kind(self, one: Outcome, arrived: set[int | None]) -> str:
        if one.sent.number in arrived:
            return "served"
        if self.denies(one):
            return "denied"
        return "refused" if one.reached else "unreached"

    def shown(self, arrived: Arrived) -> str:
        """All that a person needs to see why it is wrong."""
        number = self.number(arrived)
        outcome = self.by_number.get(number) if number is not None else None
        return (
            f"\nfront:    {self.name}, seed {self.corpus.seed}, request {number}"
            f"\nsent:     {outcome.sent.raw[:1500] if outcome else 'hidden in another one'!r}"
            f"\ncaller:   {self.corpus.callers.get(number) if number is not None else 'unknown'}"
            f"\nanswer:   {str(outcome.answer if outcome else None)[:1000]}"
            f"\nrecord:   {json.dumps(self.record(arrived))}"
            f"\narrived:  {arrived.request.head!r} body {arrived.request.body[:300]!r}"
            f"\ntrailers: {arrived.request.trailers!r}"
            f"\nAirflow:  {arrived.status} by route {arrived.route!r}"
        )


def credentials(site: CorpusSite) -> dict[str, list[str]]:
    """The head lines of each caller of the corpus."""
    front = site.front
    claims = {"sub": "id-ann", "preferred_username": "ann", "groups": ["wides", "users"], "realm_access": None}
    good = {name: [front.bearer(*groups)] for name, groups in GROUPS.items() if name != "forger"}
    wide = front.bearer("wides", "users")
    return {
        **good,
        "anonymous": [],
        "expired": [front.bearer("wides", "users", exp=1_700_000_000, iat=1_699_999_000)],
        "other-audience": [front.bearer("wides", "users", aud="someone-else")],
        "forged-signature": [f"Authorization: Bearer {_forged(front, claims)}"],
        "garbage": ["Authorization: Bearer x"],
        "basic": ["Authorization: Basic YW5uOmFubg=="],
        "double": [wide, front.bearer("viewers")],
    }


def _forged(front: Any, claims: dict[str, Any]) -> str:
    good = front.token("wides", "users")
    other = sign({"iss": front.idp.url, **claims}, STRANGER)
    return ".".join((*good.split(".")[:2], other.split(".")[2]))


def run(site: CorpusSite, seed: str, count: int) -> Report:
    """Send `count` requests, some connections at a time."""
    corpus = Corpus(seed, count, credentials(site))
    exchanges = list(corpus.exchanges())
    share, writing = _Shared(exchanges), threading.Lock()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        clients = [pool.submit(_Client(site, writing).send_all, share) for _ in range(CONNECTIONS)]
        outcomes = [one for client in clients for one in client.result()]
    arrived, untidy = site.tap.arrived()
    wanted = {one.decision for one in outcomes if one.decision}
    wanted.update(value for one in arrived for value in one.request.all(DECISION)[:1])
    records: dict[str, dict[str, Any]] = {}

    def recorded() -> bool:
        records.update({one["id"]: one for one in site.front.gate.decisions})
        return wanted <= {*records}

    with suppress(AssertionError):  # what has no record is an invariant's to say
        wait_for(recorded, "records", pause=site.front.pause, seconds=PATIENCE_S)
    return Report(name=site.name, corpus=corpus, outcomes=outcomes, arrived=arrived, untidy=untidy, records=records)


class _Shared:
    """The next exchange for whichever connection is free."""

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._exchanges = iter(exchanges)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Exchange]:
        while True:
            with self._lock:
                one = next(self._exchanges, None)
            if one is None:
                return
            yield one


class _Client:
    """One connection after another, each kept for as long as the front keeps it."""

    def __init__(self, site: CorpusSite, writing: threading.Lock) -> None:
        self._site, self._writing = site, writing
        self._connection: Connection | None = None

    def send_all(self, exchanges: Iterable[Exchange]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for one in exchanges:
            if any(sent.writes for sent in one.requests):
                with self._writing:
                    outcomes += self._exchange(one)
            else:
                outcomes += self._exchange(one)
        self._drop()
        return outcomes

    def _exchange(self, exchange: Exchange) -> list[Outcome]:
        fresh = exchange.alone or self._connection is None
        answers = self._try(exchange)
        if (
            not fresh and not answers
        ):  # the front had ended the kept connection; what it sends then is no answer to this
            answers = self._try(exchange)
        ends = len(answers)
        return [
            Outcome(sent=sent, answer=answer, reached=at <= ends)
            for at, (sent, answer) in enumerate(itertools.zip_longest(exchange.requests, answers))
        ]

    def _try(self, exchange: Exchange) -> list[RawResponse]:
        """The answers until one is missing. A connection that must not be used again is closed."""
        answers: list[RawResponse] = []
        if exchange.alone:
            self._drop()
        try:
            if self._connection is None:
                self._connection = Connection(self._site.front.address, self._site.front.tls, PATIENCE_S)
            with suppress(OSError):  # it may answer, and end, before all was sent
                self._connection.send(b"".join(sent.raw for sent in exchange.requests))
            for sent in exchange.requests:
                answers.append(self._answer(sent))
                if _ends(answers[-1]):
                    break
            if exchange.alone:
                self._connection.wait_at_most(OF_WHAT_FOLLOWS_S)
            while exchange.alone and not _ends(answers[-1]):
                if _ends(self._connection.response()):
                    break
        except (AssertionError, OSError, ValueError, IndexError):  # the end, or no HTTP/1.1
            self._drop()
        if exchange.alone or (answers and _ends(answers[-1])):
            self._drop()
        return answers

    def _answer(self, sent: Sent) -> RawResponse:
        assert self._connection
        while (said := self._connection.response(head=sent.is_head)).status in {100, 102, 103}:
            pass
        return said

    def _drop(self) -> None:
        if self._connection:
            with suppress(OSError):
                self._connection.__exit__()
            self._connection = None


def _ends(answer: RawResponse) -> bool:
    said = dict(answer.headers)
    endless = "content-length" not in said and "chunked" not in said.get("transfer-encoding", "")
    return said.get("connection", "").lower() == "close" or answer.status == 101 or (endless and answer.status == 200)
