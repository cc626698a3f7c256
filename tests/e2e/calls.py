"""Calls of one destination from some tasks at once, each on a kept connection, until the block ends."""

from tests.e2e.callers import Callers
from tests.e2e.raw_http import Connection, request
from tests.e2e.way_out import WayOut


class Calls(Callers):
    """`statuses` is what they were answered; each call brings a credential of the task's own."""

    def __init__(self, out: WayOut, name: str, *, tasks: int = 4, pause: float = 0) -> None:
        self.statuses: list[int] = []
        self._out = out
        self._data = request("/", "Authorization: Bearer mine", host=f"{name}.test")
        self._pause = pause
        super().__init__(tasks)

    def more(self, out: WayOut, number: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.statuses) + number
        out.until(lambda: len(self.statuses) >= wanted, "the calls stand still")

    def call_on(self) -> None:
        with Connection(self._out.envoy.egress) as connection:
            while not self.ended.is_set():
                connection.send(self._data)
                self.statuses.append(connection.response().status)
                self.ended.wait(self._pause)
