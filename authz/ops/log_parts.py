"""A search on all CPUs: a process for each searches some of the files, or parts of a large one.

Law: the answer is that of one `Search` of all files in their order. Files of which there are parts are opened before
the first process starts, so that a log that is renamed meanwhile is searched once. A process ends with the one that
started it. Where no process can be started, or a log is small, this one searches.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from authz.core.policy.patterns import Glob
from authz.core.traffic.selection import Selection
from authz.ops.log_reader import Part, is_compressed
from authz.ops.log_search import Search, Tally
from authz.ops.log_sieve import Others
from authz.system.regular_file import open_regular

_WORTH: Final = 32 << 20  # a process takes some hundredths of a second to start and to end
_PART: Final = 64 << 20
_MOST_OPEN: Final = 200
_NO_DECISION: Final = Selection(identities=frozenset())

_Found = TypeVar("_Found")
_Job = Callable[[Part, Callable[[int], None]], _Found]
"""What is done with a part of a log; its callback gets the number of bytes that were read."""


def searched(
    paths: Sequence[Path],
    selection: Selection,
    users: Sequence[Glob],
    most: int,
    advanced: Callable[[int], None] = lambda _bytes: None,
    *,
    worth: int = _WORTH,
    part_size: int = _PART,
    processes: int | None = None,
) -> Search:
    """The search of all files; with `users`, only of callers with such names, after a first look for their entries.

    Logs of `worth` bytes and more are shared out to `processes`, one for each CPU where that is None, a file that is
    not compressed in parts of `part_size` bytes.

    Raises:
        OSError: a file cannot be read.
    """
    with ExitStack() as opened:
        parts = [*_parts(paths, opened, part_size)]
        search = Search(selection, most)
        if users:
            for tally in _each(parts, _learned, advanced, worth, processes):
                search.add(tally)
            search.narrow(selection := selection.of_callers(search.of_users(users)))
        before, of = 0, None
        read = partial(_read, selection, most)
        for part, tally in zip(parts, _each(parts, read, advanced, worth, processes), strict=True):
            before, of = (before if part.path == of else 0), part.path
            search.add(tally, before)
            before += tally.passed
    return search


def each_part(
    paths: Sequence[Path], job: _Job[_Found], advanced: Callable[[int], None] = lambda _bytes: None
) -> Iterator[_Found]:
    """What the job finds in each part of the files, in their order, on all CPUs.

    Raises:
        OSError: a file cannot be read.
    """
    with ExitStack() as opened:
        yield from _each([*_parts(paths, opened, _PART)], job, advanced, _WORTH)


def strange(paths: Sequence[Path]) -> Tally:
    """What is no decision, no outcome and no access of this version, as far as the beginnings and ends of lines tell.

    Raises:
        OSError: a file cannot be read.
    """
    search = Search(_NO_DECISION, 0)
    for tally in each_part(paths, _glanced):
        search.add(tally)
    return search.tally


def _glanced(part: Part, advanced: Callable[[int], None]) -> Tally:
    search = Search(_NO_DECISION, 0, advanced, sieve=Others())
    search.read(part)
    return search.tally


def _learned(part: Part, advanced: Callable[[int], None]) -> Tally:
    search = Search(_NO_DECISION, 0, advanced)
    search.learn(part)
    return search.tally


def _read(selection: Selection, most: int, part: Part, advanced: Callable[[int], None]) -> Tally:
    search = Search(selection, most, advanced)
    search.read(part)
    return search.tally


def _parts(paths: Sequence[Path], opened: ExitStack, part_size: int) -> Iterator[Part]:
    """The files, of large ones that are not compressed their parts."""
    left = _MOST_OPEN
    for path in paths:
        size = path.stat().st_size if path.exists() else 0
        if size < 2 * part_size or not left or is_compressed(path):
            yield Part(path)
            continue
        left -= 1
        descriptor = open_regular(path)
        opened.callback(os.close, descriptor)
        name = f"/proc/self/fd/{descriptor}"
        begins = range(0, size, part_size)
        for begin in begins:
            yield Part(path, begin, None if begin == begins[-1] else begin + part_size, name)


def _each(
    parts: Sequence[Part],
    job: _Job[_Found],
    advanced: Callable[[int], None],
    worth: int,
    processes: int | None = None,
) -> Iterator[_Found]:
    """What the job finds in each part, in their order."""
    sizes = sum(path.stat().st_size for path in {part.path for part in parts} if path.exists())
    count = min(processes or len(os.sched_getaffinity(0)), len(parts))
    started = _started(parts, job, count) if count > 1 and sizes >= worth else []
    if started:
        yield from _shared_out(started, len(parts), advanced)
    else:
        for part in parts:
            yield job(part, advanced)


def _started(parts: Sequence[Part], job: _Job[Any], count: int) -> list[tuple[BaseProcess, Connection]]:
    """So many processes, or as many as the system lets start, each with the pipe to it."""
    context = get_context("fork")  # the parts' files stay open in it
    pipes: list[tuple[Connection, Connection]] = []
    found: list[tuple[BaseProcess, Connection]] = []
    with suppress(OSError):
        pipes.extend(context.Pipe() for _ in range(count))
    for at, (ours, theirs) in enumerate(pipes):
        process = context.Process(target=_work, args=(at, pipes, parts, job), daemon=True)
        with suppress(OSError):
            process.start()
            found.append((process, ours))
        theirs.close()
        if process.pid is None:
            ours.close()
    return found


def _shared_out(
    started: Sequence[tuple[BaseProcess, Connection]], parts: int, advanced: Callable[[int], None]
) -> Iterator[Any]:
    """The same from processes, each of which gets the next part when it is done with one."""
    try:
        yield from _collected([pipe for _process, pipe in started], parts, advanced)
    except (EOFError, ConnectionError):
        raise ChildProcessError("a process that searched the log ended: is there enough memory?") from None
    finally:
        for process, pipe in started:
            pipe.close()
            process.kill()
            process.join()


def _collected(pipes: Sequence[Connection], parts: int, advanced: Callable[[int], None]) -> Iterator[Any]:
    """What comes from the processes, in the order of the parts."""
    left, early, expected = iter(range(parts)), dict[int, Any](), 0
    working = {*pipes}
    for pipe in pipes:
        pipe.send(next(left))
    while expected < parts:
        for pipe in cast("list[Connection]", wait(working)):
            match pipe.recv():
                case int(read):
                    advanced(read)
                case OSError() as error:
                    raise error
                case at, found:
                    early[at] = found
                    if (following := next(left, None)) is None:
                        working.remove(pipe)
                    pipe.send(following)
        while expected in early:
            yield early.pop(expected)
            expected += 1


def _work(own: int, pipes: Sequence[tuple[Connection, Connection]], parts: Sequence[Part], job: _Job[Any]) -> None:
    """What a process does: the parts that it gets, until there are no more, or until who started it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is for all of them, and one says so
    for at, (theirs, ours) in enumerate(pipes):
        theirs.close()
        if at != own:
            ours.close()
    pipe = pipes[own][1]
    with suppress(EOFError, ConnectionError):
        while (at := pipe.recv()) is not None:
            try:
                pipe.send((at, job(parts[at], pipe.send)))
            except OSError as error:
                pipe.send(error)
