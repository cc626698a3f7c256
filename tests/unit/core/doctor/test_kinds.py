"""The table of findings."""

import re

from authz.core.doctor.kinds import KINDS, Finding, in_order


def test_every_finding_says_why_and_what_to_do():
    for name, kind in KINDS.items():
        assert re.fullmatch(r"[a-z]+(?:-[a-z]+)*", name)
        assert len(kind.why) > 10
        assert len(kind.fix) > 5
        assert not kind.fix.endswith(".")


def test_errors_come_first_and_each_finding_once():
    note, error = (Finding(id=name, where="a", text="x") for name in ("not-given", "route-unchecked"))
    warning = Finding(id="not-seen", where="a", text="x")
    assert in_order([note, warning, error, error]) == [error, warning, note]
