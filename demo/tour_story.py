"""The last row: the signed log has the story of a run, from its trigger to what came of its task's call.

Law: the story is what `authz audit story` prints, run as an operator would; nothing of it is read in another way.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from demo.files import Layout
from demo.tour_client import Answer, until
from demo.tour_rows import Row

WRITTEN_WITHIN_S = 5.0
STORY_S = 30.0


def story_row(layout: Layout, dag: str, run_id: str, client: str) -> Row:
    """The story of a run that `client` triggered, and whose task `read` called the orders service."""
    stories: list[Any] = []

    def ask() -> Answer:
        """Envoy's access log, and so the signed log, has the last outcomes a moment after the answers."""

        def is_complete() -> bool:
            stories[:] = [_story(layout, f"{dag}/{run_id}")]
            return not missing_in(stories[0], client)

        until(is_complete, WRITTEN_WITHIN_S)
        return Answer(status=0 if stories[0] else 1, decision="", body=json.dumps(stories[0]).encode())

    request = f"authz audit story of {dag}: trigger, task, call, outcome"
    return Row("an auditor", request, "0", ask, lambda _answer: missing_in(stories[0], client))


def _story(layout: Layout, run: str) -> Any:
    command = [sys.executable, "-m", "authz", "audit", "story", run, str(layout.audit_log), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STORY_S, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def missing_in(story: Mapping[str, Any], client: str) -> str:
    """What the story of the run should have and does not; "" if it has all."""
    trigger = (story.get("triggered_by") or {}).get("decision") or {}
    if trigger.get("client") != client:
        return f"the story does not say that {client} triggered the run"
    tasks = [task for task in story["tasks"] if task["task"] == "read"]
    calls = [call for task in tasks for call in task["calls"] if call["decision"].get("destination") == "orders"]
    if not calls:
        return "the story has no call of the task"
    if [(call["outcome"] or {}).get("ended_by") for call in calls] != ["upstream"] * len(calls):
        return "the story does not say that the service answered the call"
    written = [(one["action"], one["kind"], one["status"]) for task in tasks for one in task["accesses"]]
    return "" if ("write", "xcom", 201) in written else "the story does not say that the task wrote its XCom"
