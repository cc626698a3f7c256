"""What `authz replay` and `authz unused` share: which logs, which policy, and what could not be read.

Law: nothing is left out in silence. Each line that was not evaluated is in a count, with the reason.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from authz.cli.policy_files import PolicyFile
from authz.cli.served import load_settings
from authz.core import cases
from authz.core.characters import one_line
from authz.core.errors import PolicyError
from authz.core.policy import Bundle, Policy
from authz.core.record import SKIPPED, Skipped
from authz.core.replay import GAPS
from authz.core.traffic.evaluating import Traffic
from authz.core.traffic.tally import Tally, total
from authz.ops.log_reader import LogReader, find, rotated

if TYPE_CHECKING:
    from authz.settings import Settings

_POLICY: Final = PolicyFile(Path("policy.yaml"))
_SHOWN: Final = 3
_NO_FILES: Final = ("", "stdout")
_HALF: Final = 50.0
_LARGE: Final = 8 << 20  # bytes of logs that take a second or more to read

evaluated_option = click.option(
    "--min-evaluated",
    "least",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    default=_HALF,
    show_default=True,
    help="Exit status 2 if fewer of the log's decisions, and of its broken lines, could be evaluated.",
)


class Places:
    """The first lines that were skipped, by reason."""

    def __init__(self) -> None:
        self.first: dict[Skipped, list[str]] = {}

    def add(self, reason: Skipped, path: Path, line: int) -> None:
        """Remember the place, if it is one of the first."""
        found = self.first.setdefault(reason, [])
        if len(found) < _SHOWN:
            found.append(f"{path}:{line}")


class Read:
    """What was read: the files, and the places of what could not be."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths, self.places, self.reader = paths, Places(), LogReader()


def policy_and_settings(
    given: PolicyFile | None, settings_path: Path | None
) -> "tuple[Policy, Bundle, Settings | None]":
    """The policy that is meant, which the gate with these settings would serve, its files, and the settings.

    Raises:
        ConfigError, PolicyError: with every problem of a file, or of the two together.
    """
    settings = load_settings(settings_path)
    bundle = (given or (_POLICY if settings is None else PolicyFile(Path(settings.policy)))).bundle()
    policy = cases.read(bundle).policy
    if settings is None:
        return policy, bundle, None
    from authz.serve.agreement import mistakes  # noqa: PLC0415 pydantic costs start-up time that others need not pay

    if refused := mistakes(policy, settings, str(settings_path)):
        raise PolicyError(refused)
    return policy, bundle, settings


def logs_of(names: Sequence[str], settings: "Settings | None") -> list[Path]:
    """The files that are named, or else those of the settings.

    Raises:
        ConfigError: a name stands for no file that can be read.
        UsageError: nothing is named, and the settings have no file.
    """
    if names:
        return find(names)
    log = log_of(settings)
    return find(rotated(Path(log)) or [log])


def log_of(settings: "Settings | None") -> str:
    """The log of the settings.

    Raises:
        UsageError: they have no file.
    """
    log = settings.log.decisions if settings is not None else ""
    if log in _NO_FILES or log.startswith("/dev/"):
        raise click.UsageError("name the decision logs: files, patterns or a folder")
    return log


def read(paths: Sequence[Path], traffic: Traffic[Any]) -> Read:
    """Read the files twice: an identity entry may be in another file than the decisions that name it."""
    found = Read(paths)
    sizes = sum(path.stat().st_size for path in paths)
    hidden = sizes < _LARGE or not sys.stderr.isatty()
    with click.progressbar(length=2 * sizes, label="reading", file=sys.stderr, hidden=hidden) as bar:
        first = LogReader(bar.update)
        for path in paths:
            for _number, line in first.lines(path):
                traffic.learn(line)
        found.reader = LogReader(bar.update)
        for path in paths:
            for number, line in found.reader.lines(path):
                skipped = traffic.read(line)
                if skipped is not None:
                    found.places.add(skipped, path, number)
    return found


def unread_lines(found: Read, traffic: Traffic[Any]) -> Iterator[str]:
    """What could not be evaluated, for a terminal."""
    gaps: Counter[Any] = Counter()
    for unknown, tally in traffic.unknown.items():
        gaps[unknown.gap] += tally.count
    for gap, count in gaps.most_common():
        yield f"  {count:,} {gap}: {GAPS[gap]}"
    for reason, places in found.places.first.items():
        if reason is not Skipped.EMPTY:
            count = traffic.skipped[reason]
            lines = "1 line" if count == 1 else f"{count:,} lines"
            yield f"{lines} skipped: {SKIPPED[reason]} {one_line(', '.join(places))}"
    for damage in found.reader.damages:
        yield one_line(f"{damage.path}:{damage.line}: {damage.text}")


def unread_json(found: Read, traffic: Traffic[Any]) -> dict[str, object]:
    """The same as plain data."""
    gaps = [
        {"gap": unknown.gap.value, "text": GAPS[unknown.gap], "revision": unknown.revision, **tally_json(tally)}
        for unknown, tally in traffic.unknown.items()
    ]
    skipped = [
        {"reason": reason.value, "text": SKIPPED[reason], "count": traffic.skipped[reason], "places": places}
        for reason, places in found.places.first.items()
    ]
    damages = [{"place": f"{damage.path}:{damage.line}", "text": damage.text} for damage in found.reader.damages]
    return {"unknown": gaps, "skipped": skipped, "damaged": damages}


def tally_json(tally: Tally) -> dict[str, object]:
    """A count with its times."""
    return {"count": tally.count, "first": tally.first, "last": tally.last, "decision": tally.id}


def too_few(traffic: Traffic[Any], evaluated: int, least: float) -> str:
    """Why the answer says little or nothing about the policy; "" if enough could be evaluated.

    `least` is in percent. What was read and left out on purpose is in neither number.
    """
    if not evaluated:
        return "error: no record could be evaluated, so this says nothing about the policy"
    lost = total(traffic.unknown.values()).count + traffic.skipped[Skipped.BROKEN]
    share = 100 * evaluated / (evaluated + lost)
    if share >= least:
        return ""
    counted = f"{evaluated:,} of {evaluated + lost:,} records could be evaluated"
    return f"error: only {counted}, less than {least:g} %: this says little about the policy (--min-evaluated)"


def span_of(traffic: Traffic[Any]) -> Tally:
    """All decisions of the log."""
    return total([*traffic.found.values(), *traffic.unknown.values()])


def span_text(read_files: Read, span: Tally) -> str:
    """How many decisions there were, and from when to when."""
    files = "1 file" if len(read_files.paths) == 1 else f"{len(read_files.paths)} files"
    times = f", from {span.first} to {span.last}" if span.first else ""
    decisions = "1 decision" if span.count == 1 else f"{span.count:,} decisions"
    return f"{decisions} in {files}{times}"
