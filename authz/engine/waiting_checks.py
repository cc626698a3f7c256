"""A check that waits, for the engines with an event loop.

Law: while a check waits, every other one goes on. A check whose caller has hung up leaves what it waits for.
"""

import asyncio
import contextlib
import logging

from authz.core.parked import Parked
from authz.engine.contract import EngineOptions, Handler, Load

log = logging.getLogger(__name__)


class WaitingChecks:
    """Answers checks that wait. One event loop."""

    def __init__(self, handler: Handler, options: EngineOptions, load: Load) -> None:
        self._handler, self._options, self._load = handler, options, load

    @property
    def longest(self) -> float:
        """Seconds that one check may wait."""
        return self._options.max_wait

    async def answer(self, parked: Parked, longest: float) -> bytes:
        """The check's answer, after at most `longest` seconds of waiting.

        Raises:
            CancelledError: the caller has hung up.
        """
        answer: bytes | Parked = parked
        until = asyncio.get_running_loop().time() + min(longest, self._options.max_wait)
        while isinstance(answer, Parked):
            answer = await self._resumed(answer, until)
        return answer

    async def _resumed(self, parked: Parked, until: float) -> bytes | Parked:
        """The check's next result, when its wait has ended or its time is over."""
        load, counted = self._load, parked.counted
        if counted and load.parked >= self._options.max_parked:
            return self._handler.overloaded()
        load.parked += counted
        try:
            await self._wait(parked, until)
        except asyncio.CancelledError:
            if parked.leave is not None:
                parked.leave()
            raise
        finally:
            load.parked -= counted
        return parked.resume()

    async def _wait(self, parked: Parked, until: float) -> None:
        """Wait until what it waits for has ended, or the time is over."""
        loop = asyncio.get_running_loop()
        fetched = asyncio.Event()
        if loop.time() >= until:
            return

        def done() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended while the key was on its way
                loop.call_soon_threadsafe(fetched.set)

        try:
            begun = parked.begin(done)
        except Exception:
            # What the check waits for could not be started: the check is answered without it.
            log.exception("starting what a check waits for")
            return
        if begun:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(fetched.wait(), until - loop.time())
