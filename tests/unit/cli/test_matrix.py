"""`authz matrix`: a table that people can read in 80 columns, complete in each of its forms."""

import csv
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.cli.columns import lines
from authz.cli.grid import Table, grid
from tests.support.terminal import COLOR, in_terminal
from tests.unit.cli.test_access import POLICY, run

assert run  # a fixture

MOST_LINES = {80: 120, 120: 80}  # of 320 in blocks of one operation each
TEAMS = ("sales", "finance", "hr", "logistics", "marketing")
LEVELS = {"viewer": "dags:read", "operator": "dag_runs:create", "owner": "dags:delete"}


def seventeen(path):
    """A policy with 17 roles: three for each of five teams, and two of the platform."""
    roles = "".join(
        f'  {team}-viewer: {{groups: ["{team}-viewers"]}}\n'
        f'  {team}-operator: {{groups: ["{team}-operators"], includes: [{team}-viewer]}}\n'
        f'  {team}-owner: {{groups: ["{team}-owners"], includes: [{team}-operator]}}\n'
        for team in TEAMS
    )
    rules = "".join(
        f'  - {{id: {team}-{level}, plane: inbound, roles: ["{team}-{level}"], operations: ["{operation}"],'
        f' dags: ["{team}_*", "shared_{team}_*"]}}\n'
        for team in TEAMS
        for level, operation in LEVELS.items()
    )
    path.write_text(
        POLICY.partition("roles:")[0]
        + f"roles:\n{roles}  platform: {{groups: [platform], includes: [airflow.admin]}}\n"
        + "  auditor: {groups: [auditors], includes: [airflow.viewer]}\n"
        + f"rules:\n{rules}"
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_seventeen_roles_are_a_table_in_a_terminal(run, tmp_path, columns):
    seventeen(tmp_path / "policy.yaml")
    shown = in_terminal("matrix", folder=tmp_path, columns=columns)
    assert shown.status == 0
    assert max(map(len, shown.lines)) <= columns
    assert len(shown.lines) <= MOST_LINES[columns]
    blocks = [line for line in shown.lines if line.startswith("operation ")]
    assert len(blocks) > 1
    assert sum(line.startswith("in Airflow ") for line in shown.lines) == len(blocks)
    for team in TEAMS:
        for text in (f"shared_{team}_*", *(f"{team}-{level}" for level in LEVELS)):
            assert any(text in line for line in shown.lines), text
    whole = " ".join(shown.text.split())
    rows = run("matrix", "--format", "csv").output.splitlines()
    assert len(rows) > 50
    assert all(name in whole for (name, *_) in csv.reader(rows[1:]))


@given(
    st.lists(st.lists(st.sampled_from(["", "yes", "s_*"]), min_size=4, max_size=4), max_size=8),
    st.lists(st.sampled_from(["", "viewer"]), min_size=4, max_size=4),
)
def test_a_grid_says_what_its_table_says(cells, levels):
    titles = ["a", "b", "c", "d"]
    table = Table([["operation", *titles], *([f"x:{at}", *row] for at, row in enumerate(cells))], levels)
    made = grid(table)
    assert sorted([*(title for some in made.titles for title in some), *made.idle]) == titles
    assert sorted(name for some in made.names for name in some) == sorted(row[0] for row in table.rows[1:])
    place = {title: at for at, some in enumerate(made.titles) for title in some}
    line = {name: at for at, some in enumerate(made.names) for name in some}
    for name, *row in table.rows[1:]:
        for title, cell in zip(titles, row, strict=True):
            assert cell == (made.cells[line[name]][place[title]] if title in place else "")
    assert all(made.levels[at] == levels[titles.index(title)] for title, at in place.items())


def test_roles_that_may_the_same_share_a_column_and_operations_a_row():
    made = grid(
        Table(
            [["operation", "a", "b", "c", "d"], ["x:1", "yes", "", "yes", ""], ["x:2", "yes", "", "yes", ""],
             ["y:1", "s_*", "", "s_*", ""]],
            ["op", "", "op", "admin"],
        )
    )  # fmt: skip
    assert (made.titles, made.levels, made.idle) == ([("a", "c")], ["op"], ("b", "d"))
    assert (made.names, made.cells) == ([("x:1", "x:2"), ("y:1",)], [("yes",), ("s_*",)])


def test_roles_with_another_level_in_airflow_have_columns_of_their_own():
    made = grid(Table([["operation", "a", "b"], ["x:1", "yes", "yes"]], ["op", "admin"]))
    assert (made.titles, made.levels) == ([("a",), ("b",)], ["op", "admin"])


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_is_cut_off_and_no_line_is_too_wide(width):
    patterns = ", ".join(f"team{number}_pipeline_*" for number in range(40))
    long = "a_dag_with_a_name_of_many_characters_" * 4
    names = [f"area:operation_{number}" for number in range(30)]
    rows = [["operation", *(f"role-{number}" for number in range(9)), long]]
    rows += [[name, *[patterns] * 8, "yes", long] for name in names]
    text = COLOR.sub("", "\n".join(lines(grid(Table(rows, ["viewer"] * 10)), width)))
    assert max(map(len, text.splitlines())) <= width
    whole = re.sub(r"\s+", "", text)
    for said in (patterns, long, ", ".join(names)):
        assert said.replace(" ", "") in whole or all(part in whole for part in said.replace(" ", "").split(","))
    assert "[1]" in text


def test_a_block_has_no_rows_in_which_it_has_nothing():
    rows = [["operation", *(f"role-number-{at}" for at in range(8))]]
    rows += [["x:1", "yes", *[""] * 7], ["x:2", "", *(f"dag_{at}_*" for at in range(7))]]
    first, *others = "\n".join(lines(grid(Table(rows, [])), 40)).split("\n\n")
    assert others
    assert "x:1" in first
    assert all("x:2" in block and "x:1" not in block for block in others)


def test_the_airflow_role_of_each_column_is_shown(run):
    lines = run("matrix").output.splitlines()
    assert lines[0].split() == ["operation", "reader", "op", "etl"]
    assert lines[1].split() == ["in", "Airflow", "viewer", "op", "user"]
    assert [line.split() for line in lines[3:6]] == [
        ["dag_runs:create", "-", "sales_*", "sales_*"],
        ["dags:read", "all", "DAGs,", "not", "*_secret", "all", "DAGs,", "not", "*_secret", "-"],
        ["pools:read", "yes", "yes", "-"],
    ]
    assert lines[-1] == "no operation: without a token, authenticated"
    assert run("matrix", "--role", "op", "--role", "etl").output.splitlines()[0].split() == ["operation", "op", "etl"]


def test_roles_without_a_right_are_named(run, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY.partition("rules:")[0] + "rules: []\n")
    everyone = "without a token, authenticated, reader, op, etl"
    assert run("matrix").output == f"no operation: {everyone}\n"
    assert run("matrix", "--format", "markdown").output == f"No operation: {everyone}\n"
    assert f"<p>No operation: {everyone}</p>" in run("matrix", "--format", "html").output
    assert run("matrix", "--plane", "egress").output == f"no call: {everyone}, a run\n"


def test_other_formats(run):
    table = [*csv.reader(run("matrix", "--format", "csv").output.splitlines())]
    assert table[0] == ["operation", "without a token", "authenticated", "reader", "op", "etl"]
    assert table[1] == ["dag_runs:create", "", "", "", "sales_*", "sales_*"]
    lines = run("matrix", "--format", "markdown").output.splitlines()
    assert lines[:3] == ["| operation | reader | op | etl |", "| --- | --- | --- | --- |",
                         "| in Airflow | viewer | op | user |"]  # fmt: skip
    assert r"| sales\_\* |" in lines[3]
    assert lines[-1] == "No operation: without a token, authenticated"
    page = run("matrix", "--format", "html").output
    assert page.startswith("<!doctype html>")
    assert '<th scope="col">op<small>in Airflow: op</small></th>' in page
    assert '<tr><th scope="row">dag_runs:create</th>' in page
    assert "<td>sales_*</td>" in page


def test_equal_rows_share_one_in_markdown_and_html(run, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY.replace('"pools:read"', '"pools:read", "config:read"'))
    assert "| config:read, pools:read |" in run("matrix", "--format", "markdown").output
    assert '<th scope="row">config:read, pools:read</th>' in run("matrix", "--format", "html").output


def test_calls(run):
    table = [*csv.reader(run("matrix", "--plane", "egress", "--format", "csv").output.splitlines())]
    assert table[0] == ["call", "without a token", "authenticated", "reader", "op", "etl", "a run"]
    assert table[1] == ["GET orders /v1/**", "", "", "", "", "yes", ""]
    assert table[2][0].startswith("GET stock /**")
    assert table[2][1:] == ["", "", "", "", "", "yes"]
    lines = run("matrix", "--plane", "egress").output.splitlines()
    assert lines[0].split() == ["call", "etl", "a", "run"]
    assert lines[2].split() == ["GET", "orders", "/v1/**", "yes", "-"]


def test_the_roles_of_a_team(run, tmp_path):
    (tmp_path / "policy.yaml").write_text(
        POLICY.replace(
            "roles:\n", 'teams: [{names: [hr, it], dags: ["{team}_*"]}]\nroles:\n  "{team}-v": {groups: ["{team}"]}\n'
        )
        + '  - {id: v, plane: inbound, roles: ["{team}-v"], operations: ["dag_runs:read"], dags: team}\n'
    )
    assert [line.split() for line in run("matrix", "--team", "hr").output.splitlines()] == [
        ["operation", "hr-v"], ["in", "Airflow", "viewer"], ["─" * 13, "─" * 6], ["dag_runs:read", "hr_*"],
    ]  # fmt: skip
    header = run("matrix", "--team", "it", "--role", "op", "--team", "hr").output.splitlines()[0]
    assert header.split() == ["operation", "hr-v", "it-v", "op"]
    wrong = run("matrix", "--team", "sales")
    assert (wrong.exit_code, "the policy has no roles of a team sales (see" in wrong.output) == (2, True)
    assert run("who-can", "dag_runs:read").output == "group `hr`: hr_*  (rule v/hr)\ngroup `it`: it_*  (rule v/it)\n"


def test_calls_that_are_named_with_commas_are_kept_apart(run, tmp_path):
    calls = "".join(
        f"  - {{id: c{at}, plane: egress, roles: [etl], destinations: [x{at}], methods: [GET, PUT], paths: [/a]}}\n"
        for at in range(8)
    )
    (tmp_path / "policy.yaml").write_text(POLICY.partition("rules:")[0] + f"rules:\n{calls}")
    text = " ".join(run("matrix", "--plane", "egress").output.split())
    assert "… 3 more [1]" in text
    for output in (
        text,
        *(run("matrix", "--plane", "egress", "--format", form).output for form in ("markdown", "html")),
    ):
        assert "GET, PUT x0 /a; GET, PUT x1 /a; GET, PUT x2 /a" in output
