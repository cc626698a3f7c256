"""Why a gate would refuse a policy that `authz unused` proposes: the tests that need what was taken out.

Law: a load of the whole proposal decides whether there is anything to say. All tests that fail are found at once, also
those that name a rule which is not there any more. Places are those in the proposal.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from authz.core import cases
from authz.core import policy as policies
from authz.core.cases.judge import Judge, failures
from authz.core.documents import yaml_document
from authz.core.errors import PolicyError, Problem, in_order
from authz.core.policy import Bundle

_NAME: Final = "proposal"


def refusals(text: str, bundle: Bundle) -> list[Problem]:
    """What contradicts the proposal, in the order of files and lines; `bundle` is the policy that it is made from."""
    proposed = Bundle(text.encode(), _NAME, bundle.parts)
    try:
        cases.load(proposed)
    except PolicyError as error:
        judge, line_in = Judge(policies.load(proposed)), _lines(text, bundle)
        tests = [
            replace(case, file=_NAME, line=line_in(case.line)) if case.file == bundle.file else case
            for case in cases.read(bundle).cases
        ]
        failed = [result for case in tests if (result := judge.run(case)).wrong]
        return sorted(failures(failed, judge), key=in_order) or [*error.problems]
    return []


def _lines(text: str, bundle: Bundle) -> Callable[[int], int]:
    """From a line of the policy to that of the proposal: it has one more at the top, and other rules."""
    rules, _ = yaml_document.parse(bundle.data, bundle.file).place(("rules",), key=True)
    below = text.count("\n") - bundle.data.count(b"\n")
    return lambda line: line + (1 if line < rules else below)
