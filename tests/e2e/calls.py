"""Calls of one destination from some tasks at once, each on a kept connection, until the block ends."""

import threading
from typing import Self

from tests.e2e.raw_http import Connection, request
from tests.e2e.way_out import WayOut


class Calls:
    """`statuses` is what they were answered; each call brings a credential of the task's own."""

    def __init__(self, out: WayOut, name: str, *, tasks: int = 4, pause: float = 0) -> None:
        self.statuses: list[int] = []
        self._out = out
        self._data = request("/", "Authorization: Bearer mine", host=f"{name}.test")
        self._pause = pause
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(tasks)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a task hangs"

    def more(self, out: WayOut, number: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.statuses) + number
        out.until(lambda: len(self.statuses) >= wanted, "the calls stand still")

    def _run(self) -> None:
        with Connection(self._out.envoy.egress) as connection:
            while not self._ended.is_set():
                connection.send(self._data)
                self.statuses.append(connection.response().status)
                self._ended.wait(self._pause)
