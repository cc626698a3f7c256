"""A search on all CPUs: a process for each searches some of the files, or parts of a large one.

Law: the answer is that of one `Search` of all files in their order. Files of which there are parts are opened before
the first process starts, so that a log that is renamed meanwhile is searched once. A process ends with the one that
started it. Where processes cannot be started, or a log is small, this one searches.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final, cast

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

_Job = Callable[[Part, Callable[[int], None]], Tally]


def searched(
    paths: Sequence[Path],
    selection: Selection,
    users: Sequence[Glob],
    most: int,
    advanced: Callable[[int], None] = lambda _bytes: None,
    *,
    worth: int = _WORTH,
    part_size: int = _PART,
) -> Search:
    """The search of all files; with `users`, only of callers with such names, after a first look for their entries.

    Logs of `worth` bytes and more are shared out, a file that is not compressed in parts of `part_size` bytes.

    Raises:
        OSError: a file cannot be read.
    """
    with ExitStack() as opened:
        parts = [*_parts(paths, opened, part_size)]
        search = Search(selection, most)
        if users:
            for tally in _each(parts, _learned, advanced, worth):
                search.add(tally)
            search.narrow(selection := selection.of_callers(search.of_users(users)))
        before, of = 0, None
        read = partial(_read, selection, most)
        for part, tally in zip(parts, _each(parts, read, advanced, worth), strict=True):
            before, of = (before if part.path == of else 0), part.path
            search.add(tally, before)
            before += tally.passed
    return search


def strange(paths: Sequence[Path]) -> Tally:
    """What is no decision and no outcome of this version, as far as the beginnings and ends of lines tell.

    Raises:
        OSError: a file cannot be read.
    """
    with ExitStack() as opened:
        search = Search(_NO_DECISION, 0)
        for tally in _each([*_parts(paths, opened, _PART)], _glanced, lambda _bytes: None, _WORTH):
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


def _each(parts: Sequence[Part], job: _Job, advanced: Callable[[int], None], worth: int) -> Iterator[Tally]:
    """What the job finds in each part, in their order."""
    sizes = sum(path.stat().st_size for path in {part.path for part in parts} if path.exists())
    count = min(len(os.sched_getaffinity(0)), len(parts))
    if count > 1 and sizes >= worth:
        yield from _shared_out(parts, job, advanced, count)
    else:
        for part in parts:
            yield job(part, advanced)


def _shared_out(parts: Sequence[Part], job: _Job, advanced: Callable[[int], None], count: int) -> Iterator[Tally]:
    """The same from so many processes, each of which gets the next part when it is done with one."""
    context = get_context("fork")  # the parts' files stay open in it
    pipes = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_work, args=(at, pipes, parts, job), daemon=True) for at in range(count)]
    try:
        for process, (_ours, theirs) in zip(processes, pipes, strict=True):
            process.start()
            theirs.close()
        yield from _collected([ours for ours, _theirs in pipes], len(parts), advanced)
    except (EOFError, ConnectionError):
        raise ChildProcessError("a process that searched the log ended: is there enough memory?") from None
    finally:
        for ours, _theirs in pipes:
            ours.close()
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


def _collected(pipes: Sequence[Connection], parts: int, advanced: Callable[[int], None]) -> Iterator[Tally]:
    """What comes from the processes, in the order of the parts."""
    left, early, expected = iter(range(parts)), dict[int, Tally](), 0
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
                case at, tally:
                    early[at] = tally
                    if (following := next(left, None)) is None:
                        working.remove(pipe)
                    pipe.send(following)
        while expected in early:
            yield early.pop(expected)
            expected += 1


def _work(own: int, pipes: Sequence[tuple[Connection, Connection]], parts: Sequence[Part], job: _Job) -> None:
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
