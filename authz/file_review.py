"""What a settings file's own files look like to others: certificates that end, secrets that everybody can read.

Law: findings only, for `authz lint` and `authz envoy`. The files are found by the marks of their keys, so that no
secret is forgotten; what is not on this machine is passed over. Nothing of a file's content is ever shown.
"""

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from authz.certificates import expiries
from authz.errors import Problem
from authz.named_files import Named, Use, named
from authz.review import Finding, Severity
from authz.settings import Settings


def findings(settings: Settings, file: str, now: float) -> list[Finding]:
    """Everything that is found, in the order of the keys; `now` is the time of day."""
    files = list(named(settings))
    return [*_certificates(files, file, now), *_readable(files, file)]


def _certificates(files: Sequence[Named], file: str, now: float) -> Iterator[Finding]:
    for found in expiries(files):
        text = found.told(now)
        if text:
            severity = Severity.ERROR if found.is_over(now) else Severity.WARNING
            yield Finding(problem=Problem(file, 0, 0, text), severity=severity)


def _readable(files: Sequence[Named], file: str) -> Iterator[Finding]:
    for one in files:
        if one.use is Use.SECRET and _mode(one.path) & stat.S_IROTH:
            text = f"`{one.key}`: {one.path} can be read by everybody on this machine"
            hint = "only the gate or Envoy needs it: chmod o-r"
            yield Finding(problem=Problem(file, 0, 0, text, hint), severity=Severity.WARNING)


def _mode(path: str) -> int:
    try:
        return Path(path).stat().st_mode
    except OSError:
        return 0
