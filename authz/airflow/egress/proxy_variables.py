"""The proxy variables of a task, for everything that obeys `HTTP_PROXY` but cannot be made to identify itself.

Law: if a proxy is configured, the variables are set, with or without a token: without one the gate denies the calls,
which is better than calls that bypass it. Both cases of the names are set. Airflow's own addresses are exempt. The
token is renewed before it expires; a process started earlier keeps the one it got. At the task's end everything is
restored.
"""

import logging
import os
import threading
from collections.abc import MutableMapping
from urllib.parse import quote

from authz.airflow.egress.errors import EgressError
from authz.airflow.egress.identity import RunIdentity
from authz.airflow.egress.settings import EgressSettings

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
EXCEPTIONS = ("NO_PROXY", "no_proxy")
TRY_AGAIN_S = 10.0
log = logging.getLogger(__name__)


class ProxyVariables:
    """The variables of one task, from its start to its end."""

    def __init__(
        self, identity: RunIdentity, settings: EgressSettings, environ: MutableMapping[str, str] = os.environ
    ) -> None:
        self._identity = identity
        self._settings = settings
        self._environ = environ
        self._before = {name: environ.get(name) for name in (*PROXIES, *EXCEPTIONS)}
        self._ended = threading.Event()
        self._pid = os.getpid()

    def start(self) -> None:
        """Set the variables, and keep the token fresh from now on.

        Raises:
            EgressError: there is no token; the variables are set without one, and the request is retried.
        """
        exceptions = [self._before["no_proxy"] or self._before["NO_PROXY"] or "", *self._settings.no_proxy]
        self._set(EXCEPTIONS, ",".join(filter(None, exceptions)))
        self._set(PROXIES, self._settings.proxy)
        try:
            self._renew()
        finally:
            threading.Thread(target=self._keep_fresh, name="run-identity-proxy", daemon=True).start()

    def end(self) -> None:
        """Put everything back."""
        self._ended.set()
        if os.getpid() == self._pid:
            for name, value in self._before.items():
                if value is None:
                    self._environ.pop(name, None)
                else:
                    self._environ[name] = value

    def _keep_fresh(self) -> None:
        wait_s = self._wait_s()
        while not self._ended.wait(wait_s):
            try:
                self._renew()
            except EgressError as error:
                log.warning("The proxy variables of this task have no fresh token: %s", error)
            wait_s = self._wait_s()

    def _wait_s(self) -> float:
        return max(self._identity.proxy_renews_in(), 0.0) or TRY_AGAIN_S

    def _renew(self) -> None:
        scheme, _colon, authority = self._settings.proxy.partition("://")
        token = self._identity.proxy().token
        if not self._ended.is_set():
            self._set(PROXIES, f"{scheme}://run:{quote(token, safe='')}@{authority}")

    def _set(self, names: tuple[str, ...], value: str) -> None:
        """Names are added while the task has one thread; later only their values change, which is safe for getenv."""
        for name in names:
            self._environ[name] = value
