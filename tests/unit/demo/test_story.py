"""The row about the story of a run names what the story lacks, and is right only with all of it."""

import copy

import pytest

from demo import tour_story
from demo.files import Layout, Ports
from demo.tour_story import missing_in, story_row

WHOLE = {
    "triggered_by": {"decision": {"client": "finance-etl"}},
    "tasks": [
        {
            "task": "read",
            "calls": [
                {"decision": {"plane": "execution", "destination": ""}, "outcome": None},
                {"decision": {"destination": "orders"}, "outcome": {"ended_by": "upstream"}},
            ],
            "accesses": [{"action": "write", "kind": "xcom", "status": 201}],
        }
    ],
}


def test_a_whole_story_lacks_nothing():
    assert missing_in(WHOLE, "finance-etl") == ""


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda story: story.clear(), "triggered the run"),
        (lambda story: story.update(triggered_by=None), "triggered the run"),
        (lambda story: story["triggered_by"]["decision"].update(client="sales-etl"), "triggered the run"),
        (lambda story: story["tasks"].clear(), "has no call"),
        (lambda story: story["tasks"][0]["calls"].pop(), "has no call"),
        (lambda story: story["tasks"][0]["calls"][1].update(outcome=None), "answered the call"),
        (lambda story: story["tasks"][0]["accesses"].clear(), "wrote its XCom"),
    ],
)
def test_what_a_story_lacks_is_named(change, wanted):
    story = copy.deepcopy(WHOLE)
    change(story)
    assert wanted in missing_in(story, "finance-etl")


@pytest.mark.parametrize(("stories", "status"), [([{}, WHOLE], 0), ([{}], 1)])
def test_the_row_waits_for_the_story_and_says_what_is_wrong(tmp_path, monkeypatch, stories, status):
    layout = Layout(directory=tmp_path, ports=Ports(**dict.fromkeys(Ports.__dataclass_fields__, 1)))
    monkeypatch.setattr(tour_story, "WRITTEN_WITHIN_S", 0.2)
    monkeypatch.setattr(tour_story, "_story", lambda *_: stories.pop(0) if len(stories) > 1 else stories[0])
    row = story_row(layout, "finance_orders", "r1", "finance-etl")
    answer = row.ask()
    assert (answer.status, bool(row.check(answer))) == (status, bool(status))


def test_a_log_without_the_run_has_no_story(tmp_path):
    layout = Layout(directory=tmp_path, ports=Ports(**dict.fromkeys(Ports.__dataclass_fields__, 1)))
    layout.audit_log.mkdir()
    layout.decisions.write_text("")
    assert tour_story._story(layout, "a/b") == {}
