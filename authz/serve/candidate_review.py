"""Why the candidate that settings name (`shadow`) would not be compared, for `authz lint` and `authz doctor`.

Law: findings only, by the loader and the check of the watcher that serves. A candidate that is absent is none; one that
cannot be used changes no answer, so each finding is a warning.
"""

from pathlib import Path

from authz.core import cases
from authz.core.errors import PolicyError, Problem
from authz.core.lint.review import Finding, Severity
from authz.ops.named_files import read_bundle
from authz.serve.agreement import mistakes
from authz.settings import Settings


def findings(settings: Settings, file: str) -> list[Finding]:
    """All mistakes of the candidate, at their places; `file` is the settings file."""
    return [
        Finding(
            problem=Problem(one.file, one.line, one.column, f"the candidate is not compared: {one.message}", one.hint),
            severity=Severity.WARNING,
        )
        for one in _problems(settings, file)
    ]


def _problems(settings: Settings, file: str) -> list[Problem]:
    if not settings.shadow:
        return []
    try:
        suite = cases.load(read_bundle(Path(settings.shadow)))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Problem(settings.shadow, 0, 0, f"cannot be read: {error.strerror}")]
    except PolicyError as error:
        return [*error.problems]
    return mistakes(suite.policy, settings, file, suite.never)
