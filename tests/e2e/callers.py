"""Callers at work while a test changes something: each in a thread of its own, until the block ends."""

import threading
from typing import Self


class Callers:
    """Runs `call_on` so many times at once; it goes on until `ended` is set."""

    def __init__(self, number: int) -> None:
        self.ended = threading.Event()
        self._threads = [threading.Thread(target=self.call_on, daemon=True) for _ in range(number)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self._threads:
            thread.join(15)
            assert not thread.is_alive(), "a caller hangs"

    def call_on(self) -> None:
        """Call until `ended` is set."""
        raise NotImplementedError
