"""The exceptions of the package.

A denial is a value (`authz.core.model.Deny`); an exception means that a step could not produce its value.

    AuthzError
    ├── ConfigError(problems)       operator, at start        → stderr, exit 2
    ├── PolicyError(problems)       author, at load or reload → lint exits 1; a reload keeps the old policy
    ├── DeniedError(reason)         one request
    │   ├── RequestError            400
    │   ├── TokenError              401
    │   ├── KeysUnavailableError    503
    │   └── ReplaysFullError        503
    ├── FetchError(detail)          translated by those who fetch: keys, login's provider, Airflow
    └── AuditError
        ├── AuditUnavailableError   503 when the settings say deny
        └── AuditBrokenError        a log, checkpoint or receipt that does not verify

Law: messages, arguments and reprs never hold a token, a cookie or a key.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from authz.core.characters import one_line
from authz.core.model import Run
from authz.core.reasons import Reason


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a file: where (1-based line and column, 0 where the whole file is meant), what, what to do.

    Its text is one line, whatever it quotes.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return one_line(f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else ""))


in_order: Final = attrgetter("file", "line", "column", "message", "hint")
"""The key that sorts problems as they compare, without a call of Python for each comparison: there may be many."""


class AuthzError(Exception):
    """Base of everything that this package raises on purpose."""


class TooLargeError(AuthzError):
    """A question about policies that cannot be answered in a bounded time; the text says what it is about."""


MOST_PROBLEMS: Final = 1000
"""Mistakes that are listed; of more than these there is the count."""


class ProblemsError(AuthzError):
    """A file with one or more mistakes; `problems` lists them in the order of their places, the first MOST_PROBLEMS.

    If there are more, the last one says how many. `more` counts those that were found and not kept.
    """

    def __init__(self, problems: Iterable[Problem], more: int = 0) -> None:
        found = sorted(problems, key=in_order)
        self.problems = tuple(found[:MOST_PROBLEMS])
        if more := more + len(found[MOST_PROBLEMS:]):
            message = f"and {more} more mistakes"
            self.problems += (Problem(found[0].file, 0, 0, message, "correct these first"),)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigError(ProblemsError):
    """The settings cannot be used. Raised at start; the command ends with status 2."""


class PolicyError(ProblemsError):
    """The policy cannot be used. A running server keeps its current policy.

    `test` names the first of its own tests that failed, or entries of `never` that do not hold; "" if it has mistakes.
    """

    def __init__(self, problems: Iterable[Problem], more: int = 0, *, test: str = "") -> None:
        self.test = test
        super().__init__(problems, more)


class DeniedError(AuthzError):
    """One request cannot be allowed; `reason` says why, `detail` is for the operator (never a secret).

    `run` is the task run that the request's verified token names, None if none does.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        self.run: Run | None = None
        super().__init__(f"{reason}: {detail}" if detail else str(reason))


class RequestError(DeniedError):
    """The request has no canonical form (400)."""


class TokenError(DeniedError):
    """The token does not identify anyone (401)."""


class FetchError(AuthzError):
    """A document could not be fetched, or may not be; `detail` is for the operator (never a secret)."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class KeysUnavailableError(DeniedError):
    """The keys that the token needs are not available now (503)."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Reason.KEYS_UNAVAILABLE, detail)


class ReplaysFullError(DeniedError):
    """The replay cache is full, so the proof cannot be accepted now (503)."""

    def __init__(self, detail: str = "", reason: Reason = Reason.REPLAY_CACHE_FULL) -> None:
        super().__init__(reason, detail)


class AuditError(AuthzError):
    """Something is wrong with the decision log."""


class AuditUnavailableError(AuditError):
    """A record cannot be accepted now: the writer failed or its queue is full."""


class AuditBrokenError(AuditError):
    """A part of a log, a checkpoint or a proof is malformed, or does not verify. The text repeats nothing of it."""
