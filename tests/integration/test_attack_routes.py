"""The same with the Starlette that Airflow runs on."""

import pytest
from starlette.routing import Match, Route

from tests.unit.core.record.test_attack_task_access import entry_of


@pytest.mark.parametrize(
    ("route", "target", "param"),
    [
        ("/execution/variables/{variable_key:path}", "/execution/variables/secret%0A", "variable_key"),
        ("/execution/xcoms/{dag_id}/{run_id}/{task_id}/{key:path}", "/execution/xcoms/d/r/t/k%0A", "key"),
    ],
)
def test_a_line_end_behind_a_name_is_not_in_the_name_that_starlette_hands_on(route, target, param):
    scope = {"type": "http", "method": "GET", "path": target.replace("%0A", "\n"), "root_path": ""}
    match, child = Route(route, lambda _request: None).matches(scope)
    assert match is Match.FULL
    assert entry_of("GET", target)["name"] == child["path_params"][param]
