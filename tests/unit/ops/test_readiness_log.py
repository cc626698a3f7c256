"""What is logged of a start, and of every change after it."""

import logging

import pytest

from authz.ops.admin import Readiness
from authz.ops.readiness_log import START_S, ReadinessLog

READY = Readiness(ready=True, details={"revision": "a" * 64})
WAITING = Readiness(ready=False, reasons=("not listening yet",))


@pytest.fixture(autouse=True)
def all_levels(caplog):
    caplog.set_level(logging.DEBUG)


def test_a_start_without_trouble_is_one_line(caplog):
    changes = ReadinessLog("all is well")
    for since in (0.0, 0.1, 1.0):
        changes.look(WAITING, since_start=since)
    changes.look(READY, since_start=1.2)
    changes.look(READY, since_start=1.4)
    assert [record.getMessage() for record in caplog.records] == ["all is well, policy aaaaaaaaaaaa"]


def test_a_start_that_takes_long_says_why_once(caplog):
    changes = ReadinessLog("ready")
    changes.look(WAITING, since_start=START_S)
    changes.look(WAITING, since_start=START_S + 1)
    changes.look(READY, since_start=START_S + 2)
    assert [record.getMessage() for record in caplog.records] == [
        "not ready\n  not listening yet",
        "ready, policy aaaaaaaaaaaa",
    ]


def test_what_happens_later_is_logged_at_once(caplog):
    changes = ReadinessLog("ready", level=logging.DEBUG)
    for now in (READY, WAITING, READY):
        changes.look(now, since_start=0.5)
    assert [record.levelname for record in caplog.records] == ["DEBUG", "INFO", "INFO"]


def test_a_start_that_is_ready_with_reasons_is_never_quiet(caplog):
    half = Readiness(ready=True, reasons=("issuer b: no keys",))
    ReadinessLog("ready", level=logging.DEBUG).look(half, since_start=0.5)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "ready, policy none\n  issuer b: no keys")
    ]
