"""`authz init`: what it asks, what it writes, and that it takes nothing away."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from authz.cli import main

ISSUER = "https://idp.example.com/realms/data"
GIVEN = ("--issuer", ISSUER, "--admins", "airflow-admins", "--airflow", "127.0.0.1:8080")
FILES = {"policy.yaml", "authz.yaml", "schemas/policy.schema.json", "schemas/settings.schema.json"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments, typed=None):
        return CliRunner().invoke(main, [*map(str, arguments)], input=typed, catch_exceptions=False)

    call.folder = tmp_path
    return call


def written(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def roles(folder):
    return {
        name: role["groups"] for name, role in yaml.safe_load((folder / "policy.yaml").read_text())["roles"].items()
    }


def test_with_options_it_asks_nothing_and_what_it_writes_passes(run):
    result = run("init", *GIVEN, "--group", "data-readers=viewer", "--group", "CN=ops,DC=corp=op", typed="")
    assert (result.exit_code, result.stderr) == (0, "")
    assert written(run.folder) == FILES
    assert "$ authz lint --settings authz.yaml\nno findings\n" in result.stdout
    assert "\nPASS 8 passed, 0 failed in " in result.stdout
    assert roles(run.folder) == {
        "airflow.viewer": ["data-readers"],
        "airflow.op": ["CN=ops,DC=corp"],
        "airflow.admin": ["airflow-admins"],
    }
    assert run("check", "GET", "/api/v2/dags/x", "--group", "data-readers").exit_code == 0
    assert run("check", "POST", "/api/v2/dags/x/dagRuns", "--group", "data-readers").exit_code == 1


def test_it_asks_what_no_option_says_and_asks_again_after_a_wrong_answer(run):
    answers = [
        "idp",
        ISSUER,
        "",
        "admins",
        "readers",
        "readers=reader",
        "readers=viewer",
        "",
        "nowhere",
        "10.0.0.7:8080",
    ]
    result = run("init", "gate", typed="\n".join([*answers, ""]))
    assert result.exit_code == 0
    for words in ("this is not an http(s) URL", "is not GROUP=ROLE", "is not an address as 127.0.0.1:8080"):
        assert words in result.output
    folder = run.folder / "gate"
    assert written(folder) == FILES
    assert roles(folder) == {"airflow.viewer": ["readers"], "airflow.admin": ["admins"]}
    assert yaml.safe_load((folder / "authz.yaml").read_text())["envoy"]["inbound"]["upstreams"] == [
        {"name": "airflow", "address": "10.0.0.7:8080", "audience": "airflow"}
    ]


def test_it_asks_only_what_is_missing(run):
    result = run("init", *GIVEN[:4], "--group", "readers=viewer", typed="\n")
    assert result.exit_code == 0
    assert result.output.startswith("Where Airflow's API server listens [127.0.0.1:8080]:")


def test_a_group_with_two_roles_is_tested_as_the_stronger_one(run):
    assert (
        run("init", *GIVEN, "--group", "airflow-admins=viewer", "--group", "a=viewer", "--group", "a=viewer").exit_code
        == 0
    )
    assert roles(run.folder)["airflow.viewer"] == ["airflow-admins", "a"]


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_there_stays_and_no_other_one_is_written(run, name):
    path = run.folder / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("nowhere")
    result = run("init", *GIVEN)
    assert (result.exit_code, "it is there already" in result.stderr) == (2, True)
    assert path.readlink() == Path("nowhere")
    assert written(run.folder) == set()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--issuer", "http://idp.example.com"), "use https"),
        (("--issuer", "idp"), "not an http(s) URL"),
        (("--admins", " "), "it is empty"),
        (("--group", "readers"), "is not GROUP=ROLE with one of viewer, user, op, admin"),
        (("--airflow", "https://airflow.example.com"), "is not an address"),
        (("--admins", "a\u200bb"), "policy.yaml:"),
        (("--audience", ""), "policy.yaml:"),
        (("--airflow", "a_b:99999"), "is not an address"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(run, given, words):
    result = run("init", *GIVEN, *given)
    assert result.exit_code == 2
    assert words in result.stderr
    assert written(run.folder) == set()


def test_nothing_is_written_where_no_one_answers(run):
    assert run("init", "--issuer", ISSUER, typed="").exit_code == 1
    assert written(run.folder) == set()


def test_each_file_names_its_schema_for_editors(run):
    run("init", *GIVEN)
    for name in ("policy", "authz"):
        first = (run.folder / f"{name}.yaml").read_text().splitlines()[0]
        schema = first.removeprefix("# yaml-language-server: $schema=./")
        assert "properties" in json.loads((run.folder / schema).read_text())
        which = "policy" if name == "policy" else "settings"
        assert (run.folder / schema).read_text() == run("schema", which).stdout
