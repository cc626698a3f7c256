"""Guarded background threads: one that ends because of a bug is logged and reported in `/readyz`, never silent.

Law: every thread of the server is a `Background` (a test scans the sources for others). Code that can go on after an
error catches it inside; the guard here is for unexpected errors. It reports the error's class and place, not its text,
which could quote a request.
"""

import contextlib
import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_broken: list[str] = []


class Background(threading.Thread):
    """A daemon thread that runs `work(*args)` and reports it when that raises."""

    def __init__(self, work: Callable[..., Any], *, name: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__(target=work, args=args, name=name, daemon=True)

    def run(self) -> None:
        """See `threading.Thread.run`."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 the outermost handler of all background threads
            frame = traceback.extract_tb(error.__traceback__)[-1]
            why = f"thread {self.name} ended: internal error ({type(error).__name__} at {frame.name}:{frame.lineno})"
            _broken.append(why)
            log.critical("%s", why)

    def end(self, work: "queue.Queue[Any]", timeout: float) -> None:
        """Tell the thread by a None, behind the work that waits, to end; wait for at most `timeout` seconds in all.

        A thread that hangs takes nothing from a full queue any more, so neither is waited for longer.
        """
        if self.is_alive():
            deadline = time.monotonic() + timeout
            with contextlib.suppress(queue.Full):
                work.put(None, timeout=timeout)
            self.join(max(0.0, deadline - time.monotonic()))


def problems() -> tuple[str, ...]:
    """The threads of this process that ended because of a bug; only a restart brings them back."""
    return tuple(_broken)


def forget() -> None:
    """Forget the ended threads: for tests, whose threads end on purpose."""
    _broken.clear()
