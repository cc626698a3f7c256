"""How often each answer was given, and how often each rule decided: one counter for both.

Law 1: a check is one addition to one integer, made by the serving thread. A scrape reads a copy from another thread,
and sums it by reason and by rule.
Law 2: planes and reasons are closed lists; rules come from the policy. Those that decided first have series of their
own, and all others share one. A count is never dropped: a rule that comes back goes on where it was.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric

from authz.core.model import EXECUTION, Plane
from authz.core.reasons import Reason, word_of

NO_PLANE: Final = "none"  # the request ended before its plane was known
OTHER_RULES: Final = "(other)"  # no id of a rule holds a parenthesis
MOST_RULES: Final = 2000  # with a series of their own: as many that decided, and as many of the policy in force

_Key = tuple[str, str, str]  # plane, reason, the rule's id or ""


class CheckCounts:
    """The checks of one process.

    Attributes:
        in_force: the ids of the rules of the policy in force, at most `MOST_RULES`: shown with 0 before they decide.
    """

    def __init__(self) -> None:
        self.in_force: tuple[str, ...] = ()
        self._counts: dict[_Key, int] = {
            (plane, reason, ""): 0 for plane in (*Plane, EXECUTION, NO_PLANE) for reason in Reason
        }
        self._rules: set[str] = {"", OTHER_RULES}
        self._break_glass = 0

    def add(self, plane: str, reason: str, rule: str) -> None:
        """Count one check; `plane` is "" if it was not known, `rule` if none decided. Serving thread only.

        Raises:
            KeyError: there is no such plane or reason.
        """
        try:
            self._counts[plane or NO_PLANE, reason, rule] += 1
        except KeyError:
            self._add_first(plane or NO_PLANE, reason, rule)

    def add_break_glass(self) -> None:
        """Count one check of a caller with a break-glass token too. Serving thread only."""
        self._break_glass += 1

    def show(self, rules: Iterable[str]) -> None:
        """These are the rules of the policy in force. Any thread."""
        self.in_force = tuple(islice(rules, MOST_RULES))

    def families(self) -> Iterator[Metric]:
        """The checks by answer, and by rule."""
        answers: dict[tuple[str, str], int] = {}
        own = self._rules.copy()
        # When there is no room, the others count among `(other)`: 0 would not be true of them.
        hits = dict.fromkeys((rule for rule in self.in_force if rule in own or len(own) < MOST_RULES + 2), 0)
        for (plane, reason, rule), count in self._counts.copy().items():
            answers[plane, reason] = answers.get((plane, reason), 0) + count
            if rule:
                hits[rule] = hits.get(rule, 0) + count
        checks = CounterMetricFamily("authz_checks", "Checks answered.", labels=["plane", "decision", "reason"])
        for (plane, reason), count in answers.items():
            checks.add_metric([plane, word_of(Reason(reason)), reason], count)
        yield checks
        text = "Checks that the rule decided: it allowed them, or as a deny rule denied them."
        family = CounterMetricFamily("authz_rule_hits", text, labels=["rule"])
        for rule, count in hits.items():
            family.add_metric([rule], count)
        yield family
        text = "Checks of callers with a break-glass token, allowed or denied."
        yield CounterMetricFamily("authz_break_glass", text, self._break_glass)

    def _add_first(self, plane: str, reason: str, rule: str) -> None:
        """The first check of its kind, or one of a rule that has no series of its own."""
        self._counts[plane, reason, ""] += 0  # a made-up word ends here
        if rule not in self._rules:
            if len(self._rules) < MOST_RULES + 2:
                self._rules.add(rule)
            else:
                rule = OTHER_RULES
        key = (plane, reason, rule)
        self._counts[key] = self._counts.get(key, 0) + 1
