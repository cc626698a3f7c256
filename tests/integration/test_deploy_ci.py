"""deploy/ci: the hook, the action and the script are run as their users run them, in a Git repository.

What only GitHub has (`gh`, the runner's expressions) and the installation from a package index are stand-ins that write
down what they were asked for.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CI = ROOT / "deploy" / "ci"
POLICY = """\
version: 1
issuers:
  - {name: corp, issuer: "https://idp.example.com", audiences: {inbound: [airflow]}, algorithms: [RS256]}
roles:
  reader: {groups: [readers]}
rules:
  - {id: read, plane: inbound, roles: [reader], operations: ["dags:read"]}
tests:
  - {name: readers read, who: {groups: [readers]}, operation: "dags:read", dag: sales, expect: allow}
  - {name: readers keep pools, who: {groups: [readers]}, operation: "pools:delete", expect: deny}
"""
WIDER = POLICY.replace('["dags:read"]', '["dags:read", "variables:read"]')
FAILING = POLICY.replace('["dags:read"]', '["dags:read", "pools:delete"]')
NARROWER = POLICY.replace('["dags:read"]}', '["dags:read"], dags: ["sales*"]}')
MISTAKEN = WIDER.replace("expect: deny}", "expect: deny, rule: gone}")
BROKEN = POLICY.replace("roles: [reader]", "roles: [raeder]")
STAND_IN = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
"""


class Repository:
    """A clone with a policy on `origin/main`, and the tools on the path."""

    def __init__(self, folder):
        self.origin, self.folder = folder / "origin", folder / "work"
        self.tools, self.calls, self.temp = folder / "tools", folder / "calls", folder / "temp"
        for made in (self.origin, self.tools, self.temp):
            made.mkdir()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "GITHUB_"))},
            "PATH": f"{self.tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_SYSTEM": "/dev/null",
        }
        self.git("init", "-q", "-b", "main", ".", at=self.origin)
        (self.origin / "policy.yaml").write_text(POLICY)
        self.git("add", ".", at=self.origin)
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "base", at=self.origin)
        self.git("clone", "-q", str(self.origin), str(self.folder), at=folder)

    def git(self, *words, at=None):
        subprocess.run(["git", *words], cwd=at or self.folder, env=self.env, check=True, timeout=60)

    def change(self, text):
        (self.folder / "policy.yaml").write_text(text)

    def run(self, *words, **env):
        return subprocess.run(
            words, cwd=self.folder, env=self.env | env, capture_output=True, text=True, timeout=120, check=False
        )

    def stand_in(self, name):
        """Put a program on the path that only writes down its arguments."""
        tool = self.tools / name
        tool.write_text(STAND_IN)
        tool.chmod(0o755)

    @property
    def report(self):
        return (self.folder / "policy-review.md").read_text()


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


class TestTheScript:
    @pytest.mark.parametrize(
        ("policy", "widen", "status", "said"),
        [
            (POLICY, "true", 0, "No one gains or loses anything by the rules."),
            (WIDER, "false", 0, "| gains | group `readers` (reader) | variables:read"),
            (WIDER, "true", 1, "| gains | group `readers` (reader) | variables:read"),
            (NARROWER, "true", 0, "| loses | group `readers` (reader) |"),
            (FAILING, "false", 1, "the test `readers keep pools` fails: expected deny, found allow"),
            (FAILING, "false", 1, "| gains | group `readers` (reader) | pools:delete"),
            (MISTAKEN, "false", 1, "unknown rule `gone`"),
            (MISTAKEN, "true", 1, "| gains | group `readers` (reader) | variables:read"),
            (BROKEN, "false", 1, "unknown role `raeder`"),
            (BROKEN, "false", 1, "One of the two policies cannot be read, so there is no comparison."),
        ],
        ids=[
            *("same", "wider", "wider-not-wanted", "narrower"),
            *("failing-test", "failing-test-compared", "mistaken-test", "mistaken-test-compared"),
            *("broken", "broken-not-compared"),
        ],
    )
    def test_it_reports_what_changes_and_fails_where_it_should(self, repository, policy, widen, status, said):
        repository.change(policy)
        done = repository.run(CI / "review.sh", "origin/main", FAIL_ON_WIDEN=widen)
        assert done.returncode == status, done.stdout + done.stderr
        assert said in repository.report

    def test_the_tests_results_are_in_a_file_for_the_ci(self, repository):
        repository.run(CI / "review.sh", "origin/main")
        suites = ET.parse(repository.folder / "policy-tests.xml").getroot()  # noqa: S314 our own file
        assert [case.get("name") for case in suites.iter("testcase")] == ["readers read", "readers keep pools"]

    @pytest.mark.parametrize(
        ("policy", "failures"),
        [
            (BROKEN, ["lint"]),
            (BROKEN.replace("raeder", "<&>\\x01"), ["lint"]),
            (FAILING, ["readers keep pools"]),
            (WIDER.partition("tests:")[0], []),
        ],
        ids=["broken", "with-markup", "failing", "without-tests"],
    )
    def test_there_is_such_a_file_whatever_is_wrong(self, repository, policy, failures):
        (repository.folder / "policy-tests.xml").write_text("of an earlier run")
        repository.change(policy)
        repository.run(CI / "review.sh", "origin/main")
        suites = ET.parse(repository.folder / "policy-tests.xml").getroot()  # noqa: S314 our own file
        cases = list(suites.iter("testcase"))
        assert cases
        assert [case.get("name") for case in cases if case.find("failure") is not None] == failures
        if failures == ["lint"]:
            assert "unknown role" in suites.find(".//failure").text

    def test_a_policy_without_tests_is_no_failure(self, repository):
        repository.change(WIDER.partition("tests:")[0])
        assert repository.run(CI / "review.sh", "origin/main").returncode == 0
        assert "variables:read" in repository.report

    def test_a_new_policy_in_a_folder_has_nothing_to_be_compared_with(self, repository):
        (repository.folder / "gate").mkdir()
        (repository.folder / "gate" / "policy.yaml").write_text(POLICY)
        assert repository.run(CI / "review.sh", "origin/main", "gate/policy.yaml").returncode == 0
        assert "gate/policy.yaml is new" in repository.report

    def test_a_base_with_mistakes_is_told(self, repository):
        repository.change(BROKEN)
        repository.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "broken")
        repository.change(POLICY)
        done = repository.run(CI / "review.sh", "HEAD")
        assert (done.returncode, "unknown role `raeder`" in done.stderr) == (2, True)

    def test_a_base_that_is_not_there_is_told(self, repository):
        done = repository.run(CI / "review.sh", "origin/gone")
        assert (done.returncode, done.stderr) == (
            2,
            "error: origin/gone is no revision of this repository: fetch it first\n",
        )


class TestTheHook:
    """The command of the hook, as pre-commit runs it: in the repository's root."""

    hook = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[0]

    @pytest.mark.parametrize(("policy", "status"), [(WIDER, 0), (FAILING, 1), (BROKEN, 1)])
    def test_a_policy_that_the_gate_would_refuse_is_not_committed(self, repository, policy, status):
        repository.change(policy)
        assert repository.run(*self.hook["entry"].split(), *self.hook["args"]).returncode == status

    def test_it_runs_for_the_policy_and_the_files_that_it_names(self):
        names = ("policy.yaml", "tests/a.yaml", "teams/sales.yaml", "dag.py")
        assert [re.search(self.hook["files"], name) is not None for name in names] == [True, True, True, False]


class TestTheAction:
    action = yaml.safe_load((CI / "action.yml").read_text())

    def steps(self, repository, **inputs):
        """Run the steps' scripts in order, as a runner does; the first that fails ends the job, but for `always()`."""
        known = {name: entry["default"] for name, entry in self.action["inputs"].items()} | inputs
        values = {
            **{f"inputs.{name}": value for name, value in known.items()},
            "github.base_ref": "main",
            "github.action_path": str(CI),
            "github.token": "not-a-token",
            "github.event.pull_request.number": "7",
            "runner.temp": str(repository.temp),
        }

        def filled(text):
            for _ in range(2):  # an input's default is an expression too
                text = re.sub(r"\$\{\{ (\S+) \}\}", lambda found: values[found[1]], text)
            return text

        for name in ("python3", "gh"):
            repository.stand_in(name)
        failed = False
        for step in self.action["runs"]["steps"]:
            assert "${{" not in step["run"], "an expression in a script is a way to inject commands"
            if failed and "always()" not in step.get("if", ""):
                continue
            env = {name: filled(text) for name, text in step.get("env", {}).items()}
            summary = repository.temp / "summary.md"
            done = repository.run("bash", "-e", "-c", step["run"], GITHUB_STEP_SUMMARY=str(summary), **env)
            failed = failed or done.returncode != 0
        return failed

    def test_it_installs_what_it_came_with_reviews_and_comments(self, repository):
        repository.change(WIDER)
        assert not self.steps(repository)
        report = repository.temp / "policy-review.md"
        assert repository.calls.read_text().splitlines() == [
            f"-I -m pip install --quiet {CI}/../..",
            f"pr comment 7 --body-file {report} --edit-last --create-if-none",
        ]
        assert "variables:read" in report.read_text()
        assert (repository.temp / "summary.md").read_text() == report.read_text()

    @pytest.mark.parametrize(("policy", "widen"), [(WIDER, "true"), (BROKEN, "false")])
    def test_a_failure_is_commented_too(self, repository, policy, widen):
        repository.change(policy)
        assert self.steps(repository, **{"fail-on-widen": widen})
        assert repository.calls.read_text().splitlines()[-1].startswith("pr comment 7")
