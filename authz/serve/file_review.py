"""Problems with the files that settings name: expiring certificates, exposed secrets, logs that cannot be written.

Law: findings only, for `authz lint` and `authz envoy`. The marks of their keys identify the files, so that no secret is
forgotten; an input file that is not on this machine is skipped. A file's content is never shown, and nothing is opened
or made.
"""

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from authz.core.errors import Problem
from authz.core.lint.review import Finding, Severity
from authz.settings import Settings
from authz.settings.certificates import expiries
from authz.settings.log import SALTS
from authz.settings.named_files import Named, Use
from authz.system.regular_file import refuse_others, why


def findings(settings: Settings, file: str, now: float) -> list[Finding]:
    """All findings, in the order of the keys; `now` is the time of day."""
    files = list(settings.files())
    return [*_certificates(files, file, now), *_readable(files, file), *_unwritable(files, file)]


def readable_by_all(path: str) -> bool:
    """Whether every account on this machine may read the file; no for one that is not here."""
    return bool(_mode(path) & stat.S_IROTH)


def _certificates(files: Sequence[Named], file: str, now: float) -> Iterator[Finding]:
    for found in expiries(files):
        text = found.warning(now)
        if text:
            severity = Severity.ERROR if found.is_over(now) else Severity.WARNING
            yield Finding(problem=Problem(file, 0, 0, text), severity=severity)


def _readable(files: Sequence[Named], file: str) -> Iterator[Finding]:
    for one in files:
        if one.use is Use.SECRET and readable_by_all(one.path):
            text = f"`{one.key}`: {one.path} can be read by every account on this machine"
            hint = "only the gate or Envoy needs it: chmod o-r"
            yield Finding(problem=Problem(file, 0, 0, text, hint), severity=Severity.WARNING)
        if one.loc == SALTS and _mode(one.path) & (stat.S_IRWXG | stat.S_IRWXO):
            text = f"`{one.key}`: others may read {one.path}, and it names people: the gate does not start with it"
            yield Finding(problem=Problem(file, 0, 0, text, "chmod go="), severity=Severity.WARNING)


def _unwritable(files: Sequence[Named], file: str) -> Iterator[Finding]:
    """Logs in missing folders, or whose path is not a file. Permissions are unchecked: the gate has its own account."""
    for one in files:
        obstacle = _obstacle(Path(one.path)) if one.use is Use.WRITTEN else ""
        if obstacle:
            text = f"`{one.key}`: {one.path} cannot be written here: {obstacle}"
            hint = "make the folder, or name a file in one that exists"
            # A note: a machine on which a policy is reviewed does not have the gate's folders.
            yield Finding(problem=Problem(file, 0, 0, text, hint), severity=Severity.NOTE)


def _obstacle(path: Path) -> str:
    """Why no account could write there; "" if there is no problem."""
    try:
        if not stat.S_ISDIR(path.parent.stat().st_mode):
            return f"the folder {path.parent}: it is not a folder"
    except OSError as error:
        return f"the folder {path.parent}: {why(error)}"
    try:
        refuse_others(path.stat().st_mode, path, devices=True)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return why(error)
    return ""


def _mode(path: str) -> int:
    try:
        return Path(path).stat().st_mode
    except OSError:
        return 0
