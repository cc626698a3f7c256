"""Airflow's task tokens: what the Task SDK shows to the execution API (Airflow's `api_fastapi/auth/tokens.py`).

Law 1: only the token of a running task is accepted. The workload token, which waits in brokers and pod specs before the
task runs, says `scope: workload` and is refused, and so is one that does not say what it is for.
Law 2: it names one try of one task instance, by a UUID in the one spelling that Airflow writes, and nothing else: only
Airflow knows its DAG and run.
"""

from typing import Final
from uuid import UUID

from authz.core.errors import TokenError
from authz.core.jose.primitives import shown
from authz.core.model import Issuer
from authz.core.reasons import Reason
from authz.core.tokens.claims import READERS
from authz.core.tokens.compact import ParsedToken
from authz.core.tokens.validity import check_expiry, check_start

AUDIENCE: Final = "urn:airflow.apache.org:task"
SCOPE: Final = "execution"


def read_task_token(parsed: ParsedToken, issuer: Issuer, now: float) -> str:
    """The id of the token's task instance; TokenError if it is not a task's token, or not valid at `now`.

    Call it after `verify`.
    """
    payload = parsed.payload
    audiences: frozenset[str] = READERS["audiences"](payload, issuer)
    if audiences != {AUDIENCE}:
        raise TokenError(Reason.AUDIENCE, f"aud is not {AUDIENCE} alone")
    if payload.get("scope") != SCOPE:
        raise TokenError(Reason.TOKEN_TYPE, f"scope is {shown(payload.get('scope'))}; only {SCOPE} is a running task's")
    check_expiry(READERS["expires_at"](payload, issuer), issuer, now)
    check_start(READERS["not_before"](payload, issuer), READERS["issued_at"](payload, issuer), issuer, now)
    subject: str = READERS["subject"](payload, issuer)
    try:
        if str(UUID(subject)) == subject:
            return subject
    except ValueError:
        pass
    raise TokenError(Reason.CLAIM_INVALID, "sub is not the id of a task instance")
