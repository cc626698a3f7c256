"""Airflow's task tokens: only that of a running task, which names one try by its UUID."""

import pytest

from authz.core.errors import TokenError
from authz.core.reasons import Reason
from authz.core.runs.task_token import read_task_token
from authz.core.tokens.compact import parse
from tests.support.factories.proofs import INSTANCE
from tests.support.factories.tokens import NOW, claims, issuer, raw_token

AUDIENCE = "urn:airflow.apache.org:task"
ISSUER = issuer(name="airflow", clock_skew=30)


def read(now=NOW, **changes):
    of_a_task = claims(**{"sub": INSTANCE, "aud": AUDIENCE, "scope": "execution", "nbf": NOW - 60, **changes})
    return read_task_token(parse(raw_token({"alg": "EdDSA"}, of_a_task), max_bytes=10_000), ISSUER, now)


def test_it_names_one_task_instance():
    assert read() == INSTANCE
    assert read(aud=[AUDIENCE]) == INSTANCE
    assert read(iat=None, nbf=None) == INSTANCE


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"scope": "workload"}, Reason.TOKEN_TYPE, "scope is 'workload'; only execution is a running task's"),
        ({"scope": None}, Reason.TOKEN_TYPE, "scope is None; only execution is a running task's"),
        ({"scope": ["execution"]}, Reason.TOKEN_TYPE, None),
        ({"scope": "execution workload"}, Reason.TOKEN_TYPE, None),
        ({"aud": "airflow"}, Reason.AUDIENCE, f"aud is not {AUDIENCE} alone"),
        ({"aud": [AUDIENCE, "other"]}, Reason.AUDIENCE, f"aud is not {AUDIENCE} alone"),
        ({"aud": None}, Reason.CLAIM_INVALID, "aud is missing"),
        ({"exp": None}, Reason.CLAIM_INVALID, "exp is missing"),
        ({"exp": NOW - 30}, Reason.EXPIRED, None),
        ({"nbf": NOW + 31}, Reason.NOT_YET_VALID, None),
        ({"iat": NOW + 31}, Reason.NOT_YET_VALID, None),
        ({"iss": "https://other.test"}, Reason.UNKNOWN_ISSUER, None),
        ({"iss": None}, Reason.UNKNOWN_ISSUER, None),
        ({"sub": None}, Reason.CLAIM_INVALID, "sub is missing"),
        ({"sub": "alice"}, Reason.CLAIM_INVALID, "sub is not the id of a task instance"),
    ],
)
def test_any_other_token_is_refused(changes, reason, detail):
    with pytest.raises(TokenError) as caught:
        read(**changes)
    assert caught.value.reason is reason
    assert detail is None or caught.value.detail == detail


@pytest.mark.parametrize(
    "spelling", [INSTANCE.upper(), INSTANCE.replace("-", ""), f"{{{INSTANCE}}}", f"urn:uuid:{INSTANCE}", f"{INSTANCE} "]
)
def test_the_id_has_the_one_spelling_that_airflow_writes(spelling):
    with pytest.raises(TokenError, match="sub is not the id of a task instance"):
        read(sub=spelling)


@pytest.mark.parametrize("now", [NOW - 30, NOW, NOW + 569])
def test_times_have_the_issuers_clock_skew(now):
    assert read(now, nbf=NOW, iat=NOW) == INSTANCE


@pytest.mark.parametrize("now", [NOW + 570, float("nan")])
def test_an_expired_token_is_refused(now):
    with pytest.raises(TokenError) as caught:
        read(now)
    assert caught.value.reason is Reason.EXPIRED
