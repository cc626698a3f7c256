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
  - name: corp
    issuer: "https://idp.example.com"
    audiences: {inbound: [airflow], egress: [airflow-egress]}
    algorithms: [RS256]
    groups: [groups]
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
WARNED = POLICY.replace('{groups: [readers]}, operation: "pools', '{groups: [reader]}, operation: "pools')
CALLS = POLICY.replace(
    "tests:",
    "  - {id: orders, plane: egress, roles: [reader], destinations: [orders], paths: [/v1], methods: [GET]}\ntests:",
)
SETTINGS = """\
version: 1
policy: policy.yaml
assertion: {issuer: "https://airflow.example.com", keys: [assertion.pem]}
envoy:
  egress:
    listen: 127.0.0.1:9101
    destinations: [{name: %s, address: "orders.internal:443", hosts: [orders.internal], tls: true}]
"""
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

    @pytest.mark.parametrize(
        ("destination", "status", "said"),
        [("orders", 0, "Lint: the gate accepts the policy"), ("reports", 1, "unknown destination `orders`")],
    )
    def test_the_policy_is_compared_with_the_settings_of_the_gate(self, repository, destination, status, said):
        repository.change(CALLS)
        (repository.folder / "authz.yaml").write_text(SETTINGS % destination)
        assert repository.run(CI / "review.sh", "origin/main").returncode == 0, (
            "nothing says what destinations there are"
        )
        done = repository.run(CI / "review.sh", "origin/main", SETTINGS="authz.yaml")
        assert (done.returncode, said in repository.report) == (status, True), repository.report
        assert "| gains | group `readers` (reader) | GET orders /v1" in repository.report

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ("version: 1\npolicy: other.yaml\n", "is another file"),
            ("version: 1\npolice: policy.yaml\n", "authz.yaml:2:1: unknown key `police`"),
        ],
    )
    def test_settings_with_a_mistake_or_of_another_policy_are_a_failure(self, repository, settings, said):
        (repository.folder / "authz.yaml").write_text(settings)
        done = repository.run(CI / "review.sh", "origin/main", SETTINGS="authz.yaml")
        assert (done.returncode, said in repository.report) == (1, True), repository.report

    @pytest.mark.parametrize(("strict", "status"), [("false", 0), ("true", 1)])
    def test_warnings_are_a_failure_only_where_that_is_asked_for(self, repository, strict, status):
        repository.change(WARNED)
        done = repository.run(CI / "review.sh", "origin/main", STRICT=strict)
        assert done.returncode == status, done.stdout + done.stderr
        assert "warning: policy.yaml:" in repository.report
        assert ("Lint: **there are warnings**" in repository.report) == bool(status)
        assert "No one gains or loses anything" in repository.report, "it is compared all the same"

    @pytest.mark.parametrize(
        ("policy", "least", "status", "said"),
        [
            (POLICY, "50", 0, "2 passed, 0 failed"),
            (POLICY, "100", 1, "less than 100 % is covered"),
            (POLICY.partition("tests:")[0], "1", 1, "policy.yaml has no tests"),
            (FAILING, "1", 1, "readers keep pools"),
            (BROKEN, "1", 1, "unknown role `raeder`"),
        ],
        ids=["enough", "too-little", "without-tests", "failing", "broken"],
    )
    def test_tests_that_cover_too_little_are_a_failure_where_that_is_asked_for(
        self, repository, policy, least, status, said
    ):
        repository.change(policy)
        done = repository.run(CI / "review.sh", "origin/main", FAIL_UNDER=least)
        assert (done.returncode, said in repository.report) == (status, True), repository.report
        assert (repository.folder / "policy-tests.xml").exists()

    @pytest.mark.parametrize("least", ["much", "101", "-1", "90 --help", "1e1"])
    def test_a_percentage_that_is_none_is_an_error_and_no_review(self, repository, least):
        done = repository.run(CI / "review.sh", "origin/main", FAIL_UNDER=least)
        assert (done.returncode, done.stderr) == (
            2,
            f"error: FAIL_UNDER is {least}: give a percentage from 0 to 100, as 90\n",
        )

    def test_a_base_with_mistakes_is_told(self, repository):
        repository.change(BROKEN)
        repository.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "broken")
        repository.change(POLICY)
        done = repository.run(CI / "review.sh", "HEAD")
        assert (done.returncode, "unknown role `raeder`" in done.stderr) == (2, True)

    @pytest.mark.parametrize("policy", ["gate/policy.yaml", "policy.yaml"])
    def test_a_base_in_which_the_policy_is_behind_a_link_is_told_and_not_taken_for_none(self, repository, policy):
        where = repository.folder / policy.rpartition("/")[0]
        (repository.folder / "real").mkdir()
        (repository.folder / "policy.yaml").rename(repository.folder / "real" / "policy.yaml")
        link = repository.folder / "gate" if "/" in policy else repository.folder / "policy.yaml"
        link.symlink_to("real" if "/" in policy else "real/policy.yaml")
        repository.git("add", ".")
        repository.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "link")
        (where / "policy.yaml").write_text(WIDER)
        found = repository.run("bash", str(CI / "review.sh"), "HEAD", policy, FAIL_ON_WIDEN="true")
        assert found.returncode == 2, found
        assert f"`{link.name}` is a symbolic link" in found.stdout + found.stderr

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

    @pytest.mark.parametrize(
        ("policy", "arguments", "status"),
        [
            (WARNED, ["policy.yaml"], 0),
            (WARNED, ["--strict", "policy.yaml"], 1),
            (CALLS, ["--settings", "authz.yaml"], 1),
            (POLICY, ["--settings", "authz.yaml"], 0),
        ],
    )
    def test_its_arguments_may_be_those_that_the_page_names(self, repository, policy, arguments, status):
        shown = (CI / "README.md").read_text()
        assert f"[{', '.join(arguments)}]" in shown or arguments == self.hook["args"]
        repository.change(policy)
        (repository.folder / "authz.yaml").write_text(SETTINGS % "reports")
        assert repository.run(*self.hook["entry"].split(), *arguments).returncode == status

    def test_it_runs_for_the_policy_the_settings_and_the_files_that_the_policy_names(self):
        names = ("policy.yaml", "authz.yaml", "tests/a.yaml", "teams/sales.yaml", "dag.py")
        assert [re.search(self.hook["files"], name) is not None for name in names] == [True, True, True, True, False]


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

    def test_the_page_names_every_input_with_its_default(self):
        shown = (CI / "README.md").read_text()
        for name, entry in self.action["inputs"].items():
            default = "the pull request's" if "github." in entry["default"] else f"`{entry['default']}`"
            row = next(line for line in shown.splitlines() if line.startswith(f"| `{name}` |"))
            assert (default if entry["default"] else "none") in row

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

    @pytest.mark.parametrize(
        ("policy", "inputs"),
        [
            (WIDER, {"fail-on-widen": "true"}),
            (BROKEN, {}),
            (WARNED, {"strict": "true"}),
            (POLICY, {"fail-under": "100"}),
            (CALLS, {"settings": "authz.yaml"}),
        ],
        ids=["widens", "broken", "warned", "covers-too-little", "unknown-destination"],
    )
    def test_a_failure_is_commented_too(self, repository, policy, inputs):
        repository.change(policy)
        (repository.folder / "authz.yaml").write_text(SETTINGS % "reports")
        assert self.steps(repository, **inputs)
        assert repository.calls.read_text().splitlines()[-1].startswith("pr comment 7")
