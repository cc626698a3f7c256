"""The hook of the connection type `authz-http`: an unchanged `HttpOperator` calls through the gate, as its run.

Law: the connection's host is the destination's base URL at the gate, and the identity goes only there. The gate's
refusals fail the task at once and say why in its log: Airflow never retries a 403. A 401 is retried once, with a new
token; 429 and 503 when `Retry-After` says so, within bounds, and a call that may have reached the destination only if
its method is idempotent (RFC 9110 §9.2.2). Everything else is as in `HttpHook`.
"""

import time
from typing import Any

import requests
import tenacity
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.providers.http.hooks.http import HttpHook

from authz.airflow.egress.addresses import host_name
from authz.airflow.egress.errors import EgressError, NoRunError, RefusedError
from authz.airflow.egress.for_requests import RunAuth
from authz.airflow.egress.gate_answers import (
    DECISION,
    FORBIDDEN,
    MAYBE_BEGUN,
    TOO_MANY,
    UNAUTHENTICATED,
    UNAVAILABLE,
    Refusal,
    refusal,
    retry_after,
)
from authz.airflow.egress.identity import HEADERS, RunIdentity

CONNECTION_TYPE = "authz-http"
WAIT_FIELD = "retry_after_limit"
TRIES_FIELD = "retry_after_tries"
DEFAULT_WAIT_S = 60
DEFAULT_TRIES = 3
_TEST_TIMEOUT_S = 10
_IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"}


class GateHttpHook(HttpHook):
    """`HttpHook` whose calls carry the identity of the running task."""

    conn_type = CONNECTION_TYPE
    hook_name = "HTTP through the gate"
    default_conn_name = "authz_http_default"

    def get_conn(
        self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None
    ) -> requests.Session:
        """A session that identifies itself to the gate at the connection's host, and nowhere else."""
        session: requests.Session = super().get_conn(headers, extra_options)
        for name in (WAIT_FIELD, TRIES_FIELD, *HEADERS):  # extras become headers, but these are ours
            session.headers.pop(name, None)
        session.auth = RunAuth(self.base_url, also=session.auth if callable(session.auth) else None)
        # The base URL is the gate itself: proxies from the environment do not apply.
        session.proxies.setdefault("no_proxy", host_name(self.base_url))
        return session

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call.

        Raises:
            AirflowFailException: the gate refuses the call or the identity. Airflow does not retry.
            AirflowException: it did not succeed.
        """
        try:
            return super().run(*args, **kwargs)
        except RefusedError as error:
            raise AirflowFailException(str(error)) from None
        except EgressError as error:
            raise AirflowException(str(error)) from None

    def run_and_check(
        self, session: requests.Session, prepped_request: requests.PreparedRequest, extra_options: dict[Any, Any]
    ) -> Any:
        """Send the request, wait as `Retry-After` says, and raise the exception for the answer."""
        limit_s, tries = self._patience()
        unchecked = {**extra_options, "check_response": False}
        response = super().run_and_check(session, prepped_request, unchecked)
        for _ in range(1, tries):
            wait_s = self._worth_waiting(response)
            if wait_s is None or wait_s > limit_s:
                break
            self.log.info("HTTP %s: trying again in %.0f s, as `Retry-After` says", response.status_code, wait_s)
            limit_s -= wait_s
            time.sleep(wait_s)
            again = session.auth.again(prepped_request) if isinstance(session.auth, RunAuth) else None
            if again is None:
                break
            response = super().run_and_check(session, again, unchecked)
        if extra_options.get("check_response", True):
            self.check_response(response)
        return response

    def check_response(self, response: requests.Response) -> None:
        """Raise the exception for the answer.

        Raises:
            AirflowFailException: the gate refuses the call. Airflow does not retry.
            AirflowException: any other answer that is not a success.
        """
        refused = _refusal_in(response)
        if refused is None:
            super().check_response(response)
            return
        self.log.error("The call failed: %s", refused)
        kind = AirflowFailException if refused.status == FORBIDDEN else AirflowException
        raise kind(f"{refused.status}: {refused}")

    def run_with_advanced_retry(self, _retry_args: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:
        """The same as `HttpHook`'s, but a refusal is never retried, whatever the arguments say."""
        wanted = _retry_args.get("retry", tenacity.retry_if_exception_type())

        def retry(state: tenacity.RetryCallState) -> bool:
            failed = state.outcome.exception() if state.outcome else None
            return not isinstance(failed, AirflowFailException) and wanted(state)

        return super().run_with_advanced_retry({**_retry_args, "retry": retry}, *args, **kwargs)

    def test_connection(self) -> tuple[bool, str]:
        """Whether the gate answers at the connection's host, and what it says.

        Outside of a task there is no run, so the gate's 401 is what a good connection answers.
        """
        session = self.get_conn()
        session.auth = lambda request: request  # also keeps a netrc file out of it
        try:
            if _is_running():
                session.auth = RunAuth(self.base_url)
            response = session.get(self.base_url, timeout=_TEST_TIMEOUT_S, allow_redirects=False)
        except (requests.RequestException, EgressError) as error:
            return False, f"{self.base_url}: {error}"
        refused = _refusal_in(response)
        if refused is not None:
            asked = "" if _is_running() else " (only a running task's calls carry an identity; this one had none)"
            return refused.status == UNAUTHENTICATED or _is_running(), f"{self.base_url}: {refused}{asked}"
        if DECISION in response.headers:
            return True, f"{self.base_url}: the gate passed it on, and the destination said {response.status_code}"
        return False, (
            f"{self.base_url} answers {response.status_code}, but it is not the gate:"
            " the connection's host must be the destination's base URL at the gate"
        )

    def _patience(self) -> tuple[float, int]:
        extra = self.get_connection(self.http_conn_id).extra_dejson
        return _number(extra.get(WAIT_FIELD), DEFAULT_WAIT_S), _number(extra.get(TRIES_FIELD), DEFAULT_TRIES)

    def _worth_waiting(self, response: requests.Response) -> float | None:
        """Seconds to wait, or None where the answer is final."""
        if response.status_code not in {TOO_MANY, UNAVAILABLE}:
            return None
        refused = _refusal_in(response)
        not_begun = response.status_code == TOO_MANY or (refused is not None and refused.error not in MAYBE_BEGUN)
        return retry_after(response.headers) if not_begun or self.method in _IDEMPOTENT else None


class GateHttpHookOfVariable(GateHttpHook):
    """The same for connections from environment variables and secrets backends, where Airflow writes `_` for `-`."""

    conn_type = CONNECTION_TYPE.replace("-", "_")
    hook_name = "HTTP through the gate (from a variable)"


def _refusal_in(response: requests.Response) -> Refusal | None:
    if response.ok:
        return None
    return refusal(response.status_code, response.headers, response.content)


def _is_running() -> bool:
    try:
        RunIdentity.current()
    except NoRunError:
        return False
    return True


def _number(value: Any, default: int) -> int:
    try:
        return max(0, int(value)) if value is not None else default
    except (TypeError, ValueError):
        return default
