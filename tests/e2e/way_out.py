"""The way out: a real Envoy with the rendered configuration, a scripted authorizer, echoing destinations.

with WayOut(folder, binary) as out:
    out.add("orders", credential={"secret_file": ...})     before the start
    answer = out.get("orders", "/v1/orders")
    out.sites["orders"].only                            what the destination received
"""

import contextlib
import json
from pathlib import Path
from typing import Any, Self

from tests.e2e.answers import REQUEST_ID, is_now
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, wait_for
from tests.e2e.raw_http import RawResponse, exchange, request
from tests.e2e.scripted_authz import ScriptedAuthz, allow
from tests.support import envoy_settings
from tests.support.ports import loopback

DECISION = "d-of-the-script"


def allowed(*_: Any) -> Any:
    """The authorizer's allow with what the real one says of the decision."""
    return allow(response_headers={"x-authz-decision": DECISION}, metadata={"decision_id": DECISION})


class WayOut:
    """One Envoy; each destination is an echoing server of its own, unless its `address` says otherwise.

    `egress` has more keys of that section.
    """

    def __init__(self, folder: Path, binary: Path, **egress: Any) -> None:
        self._egress = egress
        self.folder = folder
        self.authz = ScriptedAuthz()
        self.sites: dict[str, EchoUpstream] = {}
        self._destinations: list[dict[str, Any]] = []
        self._binary = binary
        self._running = contextlib.ExitStack()

    def add(self, name: str, *, beside: tuple[str, ...] = (), **changes: Any) -> None:
        """One more destination, with the Host `<name>.test`, at its echoing server and at the addresses `beside`."""
        if "address" not in changes:
            self.sites[name] = EchoUpstream()
            changes["address"] = [*beside, self.sites[name].address]
        self._destinations.append({"name": name, "hosts": [f"{name}.test"], **changes})

    def __enter__(self) -> Self:
        section = {
            "authz_timeout": "2s",
            "egress": {"listen": loopback(), "destinations": self._destinations, **self._egress},
            "admin": loopback(),
            "access_log": "access.log",
        }
        settings = envoy_settings.load(self.folder, section, (self.authz.endpoint,))
        with contextlib.ExitStack() as starting:
            starting.enter_context(self.authz)
            for site in self.sites.values():
                starting.enter_context(site)
            self.envoy = starting.enter_context(Envoy(settings, self.folder, self._binary))
            self._running = starting.pop_all()
        self.reset()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def reset(self) -> None:
        self.authz.reset()
        self.authz.answer = allowed
        for site in self.sites.values():
            site.reset()

    def get(self, name: str, target: str | bytes = "/v1/x", *headers: str | bytes, **parts: Any) -> RawResponse:
        """One call of a destination on a connection of its own."""
        return exchange(self.envoy.egress, request(target, *headers, host=f"{name}.test", **parts))

    def until(self, check: Any, what: str) -> None:
        wait_for(check, what, pause=self.envoy.pause)

    def logged(self) -> str:
        """Everything that Envoy wrote or shows: logs, and every page of its admin interface that answers."""
        pages = ("/stats", "/clusters", "/listeners", "/certs", "/server_info", "/memory", "/ready")
        shown = [self.envoy.admin(page).body.decode("latin-1") for page in pages]
        return "\n".join([self.envoy.log.read_text(), Path(self.envoy.section.access_log).read_text(), *shown])


def failure(answer: RawResponse) -> tuple[int, str, str | None]:
    """Status, cause and destination of an answer that Envoy made for a destination.

    It is told by its header, carries the time and the ids of the access log's line, and may not be stored.
    """
    word = answer.header("x-authz-destination-error")
    assert word, f"not an answer about a destination: {answer}"
    body = json.loads(answer.body)
    assert (body["error"], body["decision_id"]) == (word, DECISION)
    assert is_now(body["time"])
    assert REQUEST_ID.fullmatch(body["request_id"])
    assert answer.header("x-authz-decision") == DECISION
    assert (answer.header("content-type"), answer.header("cache-control")) == ("application/json", "no-store")
    return answer.status, word, body["destination"]
