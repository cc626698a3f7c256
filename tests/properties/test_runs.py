"""Run identity as a property: whatever is wrong, in whatever combination, nothing is given and nothing let through.

Each case draws some of the things that can be wrong with a task's question, or with a call, and makes all of them so.
The oracle is what was drawn: only nothing may be a yes.
"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.factories.proofs import prove, task_key
from tests.support.factories.tokens import NOW
from tests.support.rigs.run import HOST, RunRig

TASK, OTHER = task_key(), task_key("other")
EXAMPLES = examples(100)
SERIALS = itertools.count()

WRONG_TOKENS = (
    {"scope": "workload"},
    {"scope": None},
    {"aud": "airflow"},
    {"iss": "https://elsewhere.test"},
    {"exp": NOW - 60},
    {"nbf": NOW + 60},
    {"sub": "00000000-0000-4000-8000-000000000000"},
)
WRONG_CLAIMS = ({"d": "finance_close"}, {"r": "run2"}, {"t": "load"}, {"m": 0}, {"n": 2})
WRONG_STATES = ("success", "failed", "restarting", "deferred", None)
WRONG_PROOFS = (
    {"htm": "POST"},
    {"htu": f"http://{HOST}/v1/other"},
    {"htu": "http://elsewhere.test/v1/orders"},
    {"iat": NOW - 61},
    {"iat": NOW + 61},
    {"ath": "A" * 43},
    {"jti": None},
)


def some(things):
    return st.lists(st.sampled_from(things), max_size=2, unique_by=repr)


def merged(changes):
    return dict(itertools.chain.from_iterable(change.items() for change in changes))


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with RunRig(tmp_path_factory.mktemp("rig"), slots=10_000) as made:
        yield made


def new_task(rig):
    """A task that no example before has seen."""
    rig.clock.set_wall(float(NOW))
    return rig.airflow.add(dag_id=f"sales_{next(SERIALS)}")


@EXAMPLES
@given(token=some(WRONG_TOKENS), claim=some(WRONG_CLAIMS), state=some(WRONG_STATES), proxy=st.booleans())
def test_only_a_running_task_with_a_true_claim_gets_a_token(rig, token, claim, state, proxy):
    task = new_task(rig)
    shown = rig.task_token(task, **merged(token))
    target = rig.target(task, None if proxy else TASK, **merged(claim))
    if state:
        task.state = state[-1]
    answer = rig.ask_identity(task, token=shown, target=target)
    wrong = bool(token or claim or state)
    assert not answer.allowed
    assert answer.http == (403 if wrong else 200)
    assert ("expires_in" in answer.body) is not wrong


@EXAMPLES
@given(
    proof=some(WRONG_PROOFS),
    stolen=st.booleans(),
    state=some(WRONG_STATES),
    waits=st.booleans(),
)
def test_only_a_good_proof_of_a_running_task_lets_a_call_through_and_once(rig, proof, stolen, state, waits):
    task = new_task(rig)
    token = rig.token_of(task, TASK)
    if state:
        task.state = state[-1]
    if waits:
        rig.clock.advance(20)
        rig.clock.set_wall(float(NOW))
    told = {"iat": NOW, "htu": f"http://{HOST}/v1/orders", **merged(proof)}
    line = prove(OTHER if stolen else TASK, token, **told)
    wrong = bool(proof or stolen or (waits and state))
    assert rig.call(token, proof=line).allowed is not wrong
    assert not rig.call(token, proof=line).allowed
