"""Everything real in a row: client → Envoy with our configuration → `authz serve` → an upstream that tells what came.

with Stack(folder) as stack:
    answer = stack.get("/api/v2/dags", token=stack.token())
    stack.upstream.only                          what the upstream received, byte for byte
    stack.gate.decision(stack.id_of(answer))     what the gate recorded
"""

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from tests.e2e.callers import Callers
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, newest, settings_for, wait_for
from tests.e2e.gate import Gate, token
from tests.e2e.raw_http import Connection, RawResponse, exchange, request
from tests.support.factories.tokens import make_key
from tests.support.simulators.idp import IdP

KEY = make_key("ES256", kid="k1")
AUDIENCE = "airflow-test"  # of the assertions, see `settings_for`
ORDERS = {"egress": True, "host": "orders.internal"}


class Stack:
    """One of each; `gates` says how many gates share the Envoy. `envoy` are options of that, and `told` is more of its
    settings; all other options go to every `Gate`.

    With `ready=False` it is complete when everything runs, whether or not checks can be answered.
    """

    def __init__(
        self,
        folder: Path,
        *,
        gates: int = 1,
        keys: tuple = (KEY,),
        ready: bool = True,
        told: Mapping[str, Any] = MappingProxyType({}),
        envoy: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        self.folder = folder
        self.idp = IdP(list(keys))
        self.upstream = EchoUpstream()
        self.gates = [Gate(folder / f"gate{number}", self.idp, ready=ready, **options) for number in range(gates)]
        self.gate = self.gates[0]
        settings = settings_for(
            tuple(place for gate in self.gates for place in gate.endpoints), self.upstream.address, folder, gate=told
        )
        self.envoy = Envoy(settings, folder, **{"binary": newest(), "alone": not ready, **envoy})
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            for part in (self.upstream, self.idp, *self.gates, self.envoy):
                starting.enter_context(part)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self.gates:  # how a gate ends is tested where it matters; here it would cost seconds
            gate.kill()
        self._running.close()

    def token(self, key: Any = KEY, **changes: Any) -> str:
        """A token that the policy's issuer would give now; by default alice's, a viewer and operator."""
        return token(key, **{"iss": self.idp.url, **changes})

    def etl(self, **changes: Any) -> str:
        """The service account's token for the egress plane."""
        person = {"preferred_username": None, "groups": [], "realm_access": None}
        return self.token(**{"client_id": "sales-etl", "aud": "airflow-egress", "sub": "etl", **person, **changes})

    def get(
        self, target: str | bytes, *headers: str | bytes, token: str | None = None, egress: bool = False, **parts: Any
    ) -> RawResponse:
        """One request on a connection of its own."""
        lines = (f"Authorization: Bearer {token}",) if token else ()
        address = self.envoy.egress if egress else self.envoy.inbound
        return exchange(address, request(target, *lines, *headers, **parts))

    def logged(self, decision_id: str) -> dict[str, Any]:
        """Envoy's access log line of a decision."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [line for line in self.envoy.access_log(1) if line["id"] == decision_id]
            return bool(found)

        wait_for(look, f"no access log line of decision {decision_id}", pause=self.envoy.pause)
        assert len(found) == 1
        return found[0]

    def reset(self) -> None:
        self.upstream.reset()


def id_of(answer: RawResponse) -> str:
    """The decision that an answer is of; every answer of the gate names it."""
    found = answer.header("x-authz-decision")
    assert found, f"no decision id in an answer with status {answer.status}"
    return found


class Traffic(Callers):
    """Steady requests from some clients on kept connections, until the block ends. `statuses` counts the answers."""

    def __init__(self, stack: Stack, target: str, *, token: str | None = None, clients: int = 3) -> None:
        headers = (f"Authorization: Bearer {token}",) if token else ()
        self._data = request(target, *headers)
        self._address = stack.envoy.inbound
        self._lock = threading.Lock()
        self.statuses: dict[object, int] = {}
        super().__init__(clients)

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    def more(self, number: int, stack: Stack) -> None:
        """Wait for so many more answers."""
        wanted = self.count + number
        wait_for(lambda: self.count >= wanted, "the traffic stands still", pause=stack.envoy.pause)

    def _note(self, what: object) -> None:
        with self._lock:
            self.statuses[what] = self.statuses.get(what, 0) + 1

    def call_on(self) -> None:
        try:
            with Connection(self._address) as connection:
                while not self.ended.is_set():
                    connection.send(self._data)
                    self._note(connection.response().status)
                    self.ended.wait(0.005)
        except (OSError, AssertionError) as error:
            self._note(repr(error))
