"""security.md d-19 and d-20: whatever breaks inside the service, the answer is a 503 that says so and never an allow.

Every collaborator is replaced by one that raises, through the constructor or the snapshot. The list of stages is
compared with what `Service` takes, so that a new collaborator without its fault is a failing test.
"""

import inspect
import json
import logging
from collections.abc import Mapping
from dataclasses import replace

import pytest

from authz.authn.sessions import Authenticator
from authz.check.answers import Answers
from authz.check.assertions import AssertionMinter
from authz.check.parts import Snapshot
from authz.check.recorder import Recorder
from authz.check.service import Service
from authz.core.grants import Granted
from authz.core.parked import Parked
from authz.core.policy import Policy
from authz.core.record import DecisionLine
from authz.core.revocation import Revoked
from tests.support.factories.tokens import make_key
from tests.support.rigs.service import KEY, POLICY, SIGNING_KEY, Rig, load, message, read, state_of
from tests.support.simulators.idp import MemorySink, SimClock

CANARY = "canary-7f3a"
NEXT = make_key("ES256", kid="k2")
# What comes out of a broken part: ordinary bugs, exhaustion, and exceptions that could pass for something else.
FAULTS = [
    ZeroDivisionError(CANARY),
    KeyError(CANARY),
    RecursionError(CANARY),
    MemoryError(CANARY),
    TimeoutError(CANARY),
    StopIteration(CANARY),
    AssertionError(CANARY),
    UnicodeEncodeError("utf-8", "x", 0, 1, CANARY),
]


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


class BrokenClock(SimClock):
    """One hand of the clock fails from its n-th use on."""

    def __init__(self, error, hand, *, after=0):
        super().__init__()
        self._error, self._hand, self._left = error, hand, after

    def _use(self, hand):
        if hand == self._hand:
            self._left -= 1
            if self._left < 0:
                raise self._error

    def wall(self):
        self._use("wall")
        return super().wall()

    def monotonic(self):
        self._use("monotonic")
        return super().monotonic()


class BrokenMapping(Mapping):
    """A table whose every use fails."""

    def __init__(self, error):
        self._error = error

    def __getitem__(self, _key):
        raise self._error

    def __iter__(self):
        raise self._error

    def __len__(self):
        raise self._error

    def get(self, _key, _default=None):
        raise self._error


class BrokenKeyState:
    """A state of keys that cannot be read."""

    def __init__(self, error):
        self._error = error

    @property
    def keyset(self):
        raise self._error

    issuer = stale_at = last_error = keyset


class BrokenAuthenticator(Authenticator):
    def __init__(self, error):
        super().__init__(capacity=1, max_token_bytes=1, count=lambda _: None)
        self._error = error

    def authenticate(self, *_, **__):
        raise self._error


class BrokenGranted(Granted):
    """A table that has something in it and cannot be read."""

    def __init__(self, error):
        super().__init__()
        self._error = error
        self.any = True

    def held(self, *_):
        raise self._error


class BrokenRevoked(Revoked):
    """A table that has something in it and cannot be read."""

    def __init__(self, error):
        super().__init__(b"k")
        self._error = error
        self.any = True

    def covers(self, *_):
        raise self._error


class LyingAuthenticator(Authenticator):
    """Its sessions carry something that no step after it expects."""

    def __init__(self, claims):
        super().__init__(capacity=10, max_token_bytes=9999, count=lambda _: None)
        self._claims = claims

    def authenticate(self, *arguments, **times):
        session = super().authenticate(*arguments, **times)
        if session is not None:
            session.identity = replace(session.identity, claims=replace(session.claims, **self._claims))
        return session


class BrokenMinter(AssertionMinter):
    def __init__(self, error):
        super().__init__([SIGNING_KEY], issuer="https://gate.test", lifetime=60)
        self._error = error

    def assertion(self, *_):
        raise self._error


class BrokenRecorder:
    def __init__(self, error):
        self.record = failing(error)


class BrokenPrivacy:
    def __init__(self, error):
        self.someone_was_erased = failing(error)


class BrokenSink(MemorySink):
    def __init__(self, error):
        super().__init__()
        self.put = failing(error)


ENDED = POLICY.replace("id: readers,", "id: readers, until: 2020-01-01,")
assert ENDED != POLICY


class UnwillingPolicy:
    """A policy that has everything but fails where it is asked for one thing."""

    def __init__(self, error, part):
        self._policy, self._error, self._part = load(), error, part

    def __getattr__(self, name):
        if name == self._part:
            raise self._error
        return getattr(self._policy, name)


def snapshot_with(**parts):
    whole = {"policy": load(), "keys": {"corp": state_of(KEY, NEXT)}, **parts}
    return {"snapshot": lambda: Snapshot(**whole)}


STAGES = {
    "snapshot": lambda error: {"snapshot": failing(error)},
    "snapshot: keys": lambda error: snapshot_with(keys=BrokenMapping(error)),
    "snapshot: key state": lambda error: snapshot_with(keys={"corp": BrokenKeyState(error)}),
    "snapshot: policy revision": lambda error: snapshot_with(policy=UnwillingPolicy(error, "revision")),
    "snapshot: policy edition": lambda error: snapshot_with(policy=UnwillingPolicy(error, "edition")),
    "snapshot: policy valid_until": lambda error: snapshot_with(policy=UnwillingPolicy(error, "valid_until")),
    "successor": lambda error: {**snapshot_with(policy=load(ENDED)), "successor": failing(error)},
    "successor: policy edition": lambda error: {
        **snapshot_with(policy=load(ENDED)),
        "successor": lambda _time: UnwillingPolicy(error, "edition"),
    },
    "snapshot: policy issuers": lambda error: snapshot_with(policy=UnwillingPolicy(error, "issuers")),
    "snapshot: policy identify": lambda error: snapshot_with(policy=UnwillingPolicy(error, "identify")),
    "snapshot: policy catalogue": lambda error: snapshot_with(policy=UnwillingPolicy(error, "catalogue")),
    "snapshot: policy gates": lambda error: snapshot_with(policy=UnwillingPolicy(error, "gates")),
    "authenticator": lambda error: {"authenticator": BrokenAuthenticator(error)},
    "authenticator: count": lambda error: {
        "authenticator": Authenticator(capacity=9, max_token_bytes=9999, count=failing(error))
    },
    "authenticator: revoked": lambda error: {
        "authenticator": Authenticator(
            capacity=9, max_token_bytes=9999, count=lambda _: None, revoked=BrokenRevoked(error)
        )
    },
    "authenticator: granted": lambda error: {
        "authenticator": Authenticator(
            capacity=9, max_token_bytes=9999, count=lambda _: None, granted=BrokenGranted(error)
        )
    },
    "minter": lambda error: {"minter": BrokenMinter(error)},
    "clock: wall": lambda error: {"clock": BrokenClock(error, "wall")},
    "clock: monotonic": lambda error: {"clock": BrokenClock(error, "monotonic")},
    "clock: monotonic, second use": lambda error: {"clock": BrokenClock(error, "monotonic", after=1)},
    "recorder": lambda error: {"recorder": BrokenRecorder(error)},
    "recorder: sink": lambda error: {"recorder": Recorder(BrokenSink(error), gate="gate-1", worker=0)},
    "observe": lambda error: {"observe": failing(error)},
    "parse": lambda error: {"parse": failing(error)},
    "privacy": lambda error: {"privacy": BrokenPrivacy(error)},
}
# Things that only a bug could put into a session; each is met by another stage: record, metadata, headers, assertion.
LIES = [{"subject": None}, {"subject": 7}, {"username": None}, {"issuer": b"x"}, {"client_id": object()}]


def is_internal_error(data):
    answer = read(data)
    assert not answer.allowed
    assert (answer.http, answer.set.get("x-authz-subject")) == (503, None)
    assert json.loads(answer.body)["error"] == "unavailable"
    assert CANARY.encode() not in data
    return answer


def test_d19_every_stage_that_the_service_has_is_made_to_fail():
    # The revoker and the key store are asked for what waits: test_sign_out.py and test_service.py in tests/unit/check.
    # What runs need fails in tests/attacks/test_run_fail_closed.py.
    # A candidate that fails changes no answer: tests/unit/check/test_shadow.py.
    # The alarm is raised for break-glass tokens only: tests/unit/check/test_break_glass.py.
    elsewhere = {"alarm", "branding", "keep", "revoker", "runs", "shadow", "want_key"}
    taken = {name for name in inspect.signature(Service).parameters if name not in elsewhere}
    assert taken == {name.partition(":")[0] for name in STAGES}
    read_by_evaluation = {"issuers", "catalogue", "gates", "revision"}
    assert read_by_evaluation <= set(Policy.__dataclass_fields__)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_d19_a_stage_that_raises_is_an_internal_error_and_never_an_allow(stage, error, caplog):
    rig = Rig(**STAGES[stage](error))
    with caplog.at_level(logging.DEBUG):
        outcome = rig.ask("GET", "/api/v2/dags", token=rig.token())
    answer = is_internal_error(outcome)
    assert answer.reason in {"internal_error", None}
    assert type(error).__name__ in caplog.text
    assert CANARY not in caplog.text
    assert rig.token() not in caplog.text


# An anonymous request for a public route has no token to look up and no assertion to make.
NOT_MET_BY_NOBODY = {
    *("snapshot: keys", "snapshot: key state", "snapshot: policy issuers", "snapshot: policy identify"),
    *("authenticator: count", "authenticator: revoked", "authenticator: granted", "minter", "privacy"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_d19_a_public_route_is_no_exception(stage):
    rig = Rig(**STAGES[stage](ZeroDivisionError()))
    outcome = rig.ask("GET", "/api/v2/monitor/health")
    if stage in NOT_MET_BY_NOBODY:
        assert read(outcome).reason == "public"
    else:
        is_internal_error(outcome)


@pytest.mark.parametrize("claims", LIES, ids=" ".join)
def test_d19_a_session_that_makes_no_sense_is_an_internal_error(claims):
    rig = Rig(authenticator=LyingAuthenticator(claims))
    is_internal_error(rig.ask("GET", "/api/v2/dags", token=rig.token()))


@pytest.mark.parametrize("stage", STAGES)
def test_d19_a_check_that_waited_is_no_way_around(stage):
    """The fault comes between the parking and the resuming."""
    healthy = Rig()
    token = healthy.token(NEXT)
    parked = healthy.ask(token=token)
    assert isinstance(parked, Parked)
    arguments = {
        "snapshot": lambda: Snapshot(policy=healthy.policy, keys={"corp": state_of(KEY, NEXT)}),
        "authenticator": healthy.authenticator,
        "minter": healthy.minter,
        "clock": healthy.clock,
        "recorder": Recorder(healthy.sink, gate="gate-1", worker=0),
        "observe": lambda *_: None,
        **STAGES[stage](ZeroDivisionError()),
    }
    healthy.service._answers = Answers(arguments.pop("minter"))
    for name, value in arguments.items():
        assert hasattr(healthy.service, f"_{name}")
        setattr(healthy.service, f"_{name}", value)
    answer = read(parked.resume())
    assert not answer.allowed
    assert answer.http == 503


@pytest.mark.parametrize("stage", ["clock: wall", "clock: monotonic", "recorder", "observe"])
def test_d19_an_overload_that_cannot_be_recorded_is_still_an_answer(stage):
    rig = Rig(**STAGES[stage](ZeroDivisionError()))
    is_internal_error(rig.service.overloaded())


def test_d19_the_service_works_again_when_the_fault_is_over():
    rig = Rig()
    rig.service._answers._minter = BrokenMinter(ZeroDivisionError())
    is_internal_error(rig.ask(token=rig.token()))
    rig.service._answers._minter = rig.minter
    assert rig.check(token=rig.token()).allowed


def test_d19_an_internal_error_is_recorded_and_counted_under_its_decision():
    rig = Rig(minter=BrokenMinter(ZeroDivisionError()))
    answer = rig.check(token=rig.token())
    assert rig.record["reason"] == "internal_error"
    assert rig.record["time"] == DecisionLine("", 0).stamp(rig.clock.wall())
    assert rig.record["id"] == answer.metadata["decision_id"]
    assert rig.observed[-1][1] == "internal_error"
    assert "allow" not in {record["decision"] for record in rig.sink.records}


def test_d19_a_record_that_is_refused_is_audit_unavailable_even_for_an_internal_error():
    rig = Rig(minter=BrokenMinter(ZeroDivisionError()))
    rig.sink.failing = True
    answer = rig.check(token=rig.token())
    assert (answer.http, answer.reason) == (503, "audit_unavailable")


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_d19_a_torn_message_is_never_an_allow(cut):
    rig = Rig()
    whole = message(headers=[("authorization", f"Bearer {rig.token()}".encode())])
    assert read(rig.service.check(whole)).allowed
    for torn in (whole[:-cut], whole[cut:], whole[:cut] + whole[cut + 1 :]):
        outcome = rig.service.check(torn)
        answer = read(outcome)
        # a message that lost a byte of its header values may still be a whole one; then it is judged as what it says
        assert not answer.allowed or rig.record["subject"] == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", b"\xff\xfe")],
        [("authorization", b"Bearer " + b"a" * 65536)],
        [("accept", b"\xff"), ("traceparent", b"\xff" * 99)],
        [("cookie", b"\xff" * 65536)],
        [(f"x-{number}", b"y" * 1000) for number in range(60)],
    ],
    ids=["invalid UTF-8", "huge token", "bytes elsewhere", "huge cookie", "many headers"],
)
def test_d19_ugly_headers_are_denied_or_ignored(headers):
    rig = Rig()
    answer = rig.check("GET", "/api/v2/dags", headers=headers)
    assert answer.http in {400, 401}


def test_d20_outage_and_denial_have_different_grpc_codes():
    rig = Rig()
    assert read(rig.ask("GET", "/api/v2/variables", token=rig.token())).code == 7
    rig.sink.failing = True
    assert read(rig.ask("GET", "/api/v2/variables", token=rig.token())).code == 14
    broken = Rig(snapshot=failing(ZeroDivisionError()))
    assert read(broken.ask()).code == 13
