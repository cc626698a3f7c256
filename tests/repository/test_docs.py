"""What the documentation says is what the software does: the commands on the way in are run, every table is complete.

The way in is the README, then a gate in front of an Airflow, then the page for an answer that one did not expect.

A `yaml` block after a sentence that ends with a file name in backticks is saved under that name. In a `console` block
each line that begins with `$ ` is run in the same folder; a comment `# exit status N` says how it ends (0 otherwise);
the lines below it are its output, where `…` stands for anything.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from authz import settings
from authz.core.cases import load
from authz.core.decision.decide import evaluate
from authz.core.lint import review
from authz.core.model import Allow
from authz.core.policy import Bundle
from authz.core.policy.bundle import Part, matches, named
from authz.core.record import IdentityEntry, LogEntry, OutboundFields, OwnFields
from scripts import docs
from tests.support.factories.policies import claims, request
from tests.support.factories.tokens import access_claims, make_key, sign

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
IN_FRONT = (ROOT / "docs" / "howto" / "airflow.md").read_text()
OUTBOUND = (ROOT / "docs" / "howto" / "outbound.md").read_text()
TROUBLE = (ROOT / "docs" / "troubleshooting.md").read_text()
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")})
BIN = Path(sys.executable).parent

# `sh` blocks hold commands that stay, need a network, or are run elsewhere; each is named with the place that runs it.
RUN_ELSEWHERE = {
    "make demo": ".ci/run, as `make demo-tour`: the same stack and tour, without the waiting",
    "make test": ".ci/run, as `make test-all`, which runs these tests and all others",
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.crt"
    " -subj /CN=airflow.example.com -addext subjectAltName=DNS:airflow.example.com": (
        "test_the_commands_for_an_existing_airflow_work"
    ),
    "authz envoy --settings authz.yaml --output envoy.yaml": "test_the_commands_for_an_existing_airflow_work",
    "envoy --mode validate -c envoy.yaml": "test_the_commands_for_an_existing_airflow_work",
    "authz serve --settings authz.yaml": "test_the_commands_for_an_existing_airflow_work",
    "envoy -c envoy.yaml": "test_the_commands_for_an_existing_airflow_work, as `envoy --mode validate`",
    "curl http://127.0.0.1:9180/readyz": "tests/e2e/test_gate_failures.py",
    "curl --cacert tls.crt --resolve airflow.example.com:8443:127.0.0.1"
    " https://airflow.example.com:8443/api/v2/monitor/health": "tests/e2e/test_gate.py, without a token",
    "authz doctor --airflow http://127.0.0.1:8080": "tests/integration/test_doctor.py",
    'curl -H "Authorization: Bearer $TOKEN" https://airflow.example.com:8443/api/v2/dags': "the demo's tour",
    "grep 926a3e91b7e7441cfa435aae decisions.jsonl": "tests/e2e/test_gate.py reads records by their id",
}


WHAT_THE_UI_LOADS = (
    *("/", "/dags", "/static/assets/main.js", "/ui/auth/me", "/ui/auth/menus", "/ui/config"),
    *("/api/v2/monitor/health", "/api/v2/version", "/api/v2/auth/logout"),
)


def blocks(kind, *pages):
    return [block for page in pages for block in re.findall(rf"^```{kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]


def save(page, folder):
    """Write the files that a page shows into a folder; their names."""
    found = re.findall(r"`(\w+\.yaml)`[^`]*:\n\n```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, text in found:
        (folder / name).write_text(text)
    return [name for name, _text in found]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of the README, and a token whose issuer has a slash too many."""
    path = tmp_path_factory.mktemp("readme")
    assert save(README, path) == ["first.yaml", "policy.yaml"]
    wrong = access_claims(iss="https://idp.example.com/realms/data/")
    (path / "token.txt").write_text(sign(wrong, make_key("RS256")))
    return path


@pytest.fixture(scope="module")
def in_front(tmp_path_factory):
    """A folder with the files of a gate in front of an existing Airflow."""
    path = tmp_path_factory.mktemp("in_front")
    assert save(IN_FRONT, path) == ["policy.yaml", "authz.yaml"]
    return path


def run(command, folder, **options):
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def console_commands():
    """Those of the README and of the page about unexpected answers; test_howto.py runs those of the how-tos."""
    for block in blocks("console", README, TROUBLE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


@pytest.mark.parametrize(("command", "output"), list(console_commands()))
def test_every_console_command_does_what_the_page_shows(command, output, folder):
    command, _, comment = command.partition("   # exit status ")
    result = run(command, folder)
    pattern = re.escape(output).replace("…\\\n", "(?s:.*)").replace("…", ".*")
    assert re.fullmatch(pattern, result.stdout + result.stderr), result.stdout + result.stderr
    assert result.returncode == int(comment or 0)


def test_every_other_command_is_run_somewhere():
    commands = [line for block in blocks("sh", README, IN_FRONT, TROUBLE) for line in block.splitlines() if line]
    assert commands == list(RUN_ELSEWHERE)


def test_the_commands_for_an_existing_airflow_work(in_front):
    certificate, render, validate = [line for block in blocks("sh", IN_FRONT) for line in block.splitlines()][:3]
    assert certificate.startswith("openssl req")
    for command in (certificate, render, validate):
        done = run(command, in_front)
        assert done.returncode == 0, done.stderr
    text = (in_front / "authz.yaml").read_text()
    free = "admin: {listen: '127.0.0.1:0'}\n"
    (in_front / "serve.yaml").write_text(text.replace("127.0.0.1:9190", "127.0.0.1:0") + free)
    serving = subprocess.Popen(
        [BIN / "authz", "serve", "--settings", "serve.yaml", "--workers", "1"],
        cwd=in_front,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = []
        for line in serving.stderr:
            lines.append(line)
            if "listening on 127.0.0.1:" in line:
                break
        assert "listening on 127.0.0.1:" in lines[-1], lines
    finally:
        serving.terminate()
        serving.stderr.read()
        assert serving.wait(20) == 0
        serving.stderr.close()


def test_the_policies_and_the_settings_on_the_way_in_have_no_findings(folder, in_front):
    for path in (folder, in_front):
        assert review.lint(load(Bundle((path / "policy.yaml").read_bytes(), "policy.yaml")).policy) == []
    assert settings.load(in_front / "authz.yaml").envoy is not None


def test_the_readmes_policy_goes_with_the_settings_in_front_of_an_airflow(tmp_path):
    for page in (IN_FRONT, README):
        save(page, tmp_path)
    found = run("authz lint --settings authz.yaml", tmp_path)
    assert (found.stdout, found.stderr, found.returncode) == ("no findings\n", "", 0)


def test_the_readme_is_short():
    assert len(README.splitlines()) < 200


def test_the_settings_for_outbound_calls_fit_beside_the_others(tmp_path, in_front):
    """The how-to says "add what is new in it to the one that you have"."""
    save(OUTBOUND, tmp_path)
    beside, whole = (yaml.safe_load((path / "authz.yaml").read_text()) for path in (tmp_path, in_front))
    new = {key: value for key, value in beside.items() if key not in whole}
    assert set(new) == {"run_identity"}
    assert {**beside, "envoy": {"inbound": beside["envoy"]["inbound"]}} == {**new, **whole}, "the rest is the same"
    (in_front / "both.yaml").write_text(
        yaml.safe_dump({**whole, **new, "envoy": {**whole["envoy"], **beside["envoy"]}})
    )
    rendered = run("authz envoy --settings both.yaml --output both-envoy.yaml", in_front)
    assert rendered.returncode == 0, rendered.stderr
    [destination] = beside["envoy"]["egress"]["destinations"]
    (line,) = [line for line in README.splitlines() if "id: orders, plane: egress" in line]
    assert yaml.safe_load(line)[0]["destinations"] == [destination["name"]], "the README says that this rule is enough"
    rules = yaml.safe_load((tmp_path / "policy.yaml").read_text())["rules"]
    assert {name for rule in rules for name in rule["destinations"]} == {destination["name"]}
    host = next(line for line in OUTBOUND.splitlines() if line.startswith("| host |"))
    assert f"{beside['envoy']['egress']['listen']}{destination['path']}" in host


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def anchors(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {docs.slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_heading_that_exists(page):
    for target, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page.read_text()):
        if "://" not in target:
            assert anchor in anchors(page.parent / target if target else page), (
                f"{page.name} links to {target}#{anchor}"
            )


def test_anchors_are_those_that_github_makes():
    assert docs.slug("`envoy.inbound.upstreams[]`") == "envoyinboundupstreams"
    assert docs.slug("503 `gate_unavailable`: no gate answers") == "503-gate_unavailable-no-gate-answers"


@pytest.mark.parametrize("section", [path for path, _model in docs.sections()])
def test_each_section_of_the_settings_has_an_example_that_loads(section, tmp_path):
    example = docs.examples()[section]
    (tmp_path / "authz.yaml").write_text(example if example.startswith("version:") else f"version: 1\n{example}")
    found = [settings.load(tmp_path / "authz.yaml")]
    for key in () if section == docs.WHOLE_FILE else section.split("."):
        inner = [getattr(one, key.removesuffix("[]")) for one in found]
        found = [one for value in inner for one in (value if key.endswith("[]") else [value]) if one is not None]
    assert any(one.model_fields_set for one in found), "the example does not show its section"


def test_sections_of_the_settings_have_headings_of_their_own():
    paths = [path for path, _model in docs.sections()]
    assert len({docs.slug(path) for path in paths}) == len(paths)
    text = (ROOT / "docs" / "settings.md").read_text()
    assert [path for path in paths if f"# `{path}`\n" not in text] == []


def test_the_page_of_the_settings_cannot_be_made_without_an_example(monkeypatch, tmp_path):
    left_out = docs.EXAMPLES.read_text().replace("--- # keys\n", "--- # clefs\n")
    monkeypatch.setattr(docs, "EXAMPLES", tmp_path / "examples.yaml")
    docs.EXAMPLES.write_text(left_out)
    with pytest.raises(SystemExit, match="keys, clefs"):
        list(docs.settings())


def test_the_index_of_the_documentation_links_every_page():
    folder = ROOT / "docs"
    start = (folder / "README.md").read_text()
    pages = {str(page.relative_to(folder)) for page in folder.rglob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in start} == set()


def test_contributors_are_sent_to_places_that_exist():
    places = re.findall(
        r"`((?:authz|bench|docs|scripts|tests)/[\w./]+|\.ci/\w+)`", (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert len(places) > 10
    assert [place for place in places if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_policies_in_the_documentation_load(page):
    # What a how-to saves as `new.yaml` may have mistakes: test_howto.py runs the commands that show them.
    text = re.sub(r"`new\.yaml`[^`]*:\n\n```yaml\n.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    # A file of a team, or of tests, is loaded with the policies that name it; so its tests are run.
    of_teams = r"`((?:teams|tests)/\w+\.yaml)`[^`]*:\n\n```yaml\n(.*?)^```$"
    saved = re.findall(of_teams, text, re.MULTILINE | re.DOTALL)
    parts = tuple(Part(name, content.encode()) for name, content in saved)
    text, used = re.sub(of_teams, "", text, flags=re.MULTILINE | re.DOTALL), set()
    for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if "issuers:" in block and "rules:" in block:
            patterns = named(block.encode())
            there = tuple(part for part in parts if any(matches(pattern, part.name) for pattern in patterns))
            used |= {part.name for part in there}
            assert load(Bundle(block.encode(), page.name, there)).policy.rules
            continue
        found = yaml.safe_load(block)
        assert found
        rules = found.get("rules") if isinstance(found, dict) else found
        if isinstance(rules, list) and all("id" in rule for rule in rules):
            assert len(load(Bundle(whole_policy(rules), page.name)).policy.rules) >= len(rules)
    assert used >= {part.name for part in parts if part.name.startswith("tests/")}


@pytest.mark.parametrize("page", ["docs/policy.md", "docs/howto/teams.md"])
def test_the_rule_for_the_ui_is_enough_to_use_it_and_to_sign_out(page):
    [line] = re.findall(r"^  - (\{.*\"ui:shell\".*\})$", (ROOT / page).read_text(), re.MULTILINE)
    rule = yaml.safe_load(line) | {"roles": ["person"]}
    policy = load(Bundle(whole_policy([rule]), page)).policy
    person = policy.identify(claims(issuer="corp", groups=["person"]))
    for path in WHAT_THE_UI_LOADS:
        for narrowed in (True, False):
            decision = evaluate(request("GET", path, narrowed=narrowed), person, policy)
            assert isinstance(decision, Allow), (path, decision)
    listed = evaluate(request("GET", "/api/v2/dags", narrowed=True), person, policy)
    assert not isinstance(listed, Allow), "it shows no DAG"


def whole_policy(rules):
    """A policy with these rules, in which somebody has every role that they name."""
    roles = {role for rule in rules for role in rule.get("roles", ())} - {"authenticated"}
    issuer = {"name": "corp", "issuer": "https://idp.example.com", "algorithms": ["ES256"]}
    audiences = {"inbound": ["airflow"], "egress": ["airflow-egress"]}
    teams = {"teams": [{"names": ["sales"], "dags": ["{team}_*"]}]} if any("{team}" in role for role in roles) else {}
    return json.dumps(
        {
            "version": 1,
            "issuers": [{**issuer, "audiences": audiences}],
            **teams,
            "roles": {role: {"groups": [role]} for role in sorted(roles)},
            "rules": rules,
        }
    ).encode()


def test_every_command_and_its_options_have_help():
    from authz.cli import main

    def walk(command, name):
        assert command.help, f"{name} has no help"
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, f"{name} {parameter.opts} has no help"
        for child in getattr(command, "commands", ()):
            walk(command.get_command(click.Context(command), child), f"{name} {child}")

    walk(main, "authz")


def test_every_make_target_has_a_help_line():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    assert {name for name, _help in re.findall(r"^([a-z-]+):.*## (.*)$", text, re.MULTILINE)} == phony


def test_no_committed_file_names_a_package_registry():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    hosts = re.compile(r"https?://[^\s\"'`)]*(?:py" r"pi\.org|pythonhosted|npm" r"js|deb" r"ian\.org)")
    assert len(listed) > 50
    for name in listed:
        path = ROOT / name
        if path.is_file() and path.suffix in {".lock", ".md", ".toml", ".yaml", ".yml", ".json", ".txt", ".cfg"}:
            assert not hosts.search(path.read_text(errors="replace")), name


def test_no_page_installs_our_unpublished_package_by_name():
    """Somebody else could publish under the name."""
    told = re.compile(r"pip install [^`\n]*(?<![./])\bairflow[-_]envoy[-_]authz(?!-\*\.whl|_)")
    for page in (*ROOT.rglob("*.md"), *(ROOT / "authz").rglob("*.py"), *(ROOT / "deploy").rglob("*.*")):
        if (
            not {".venv", ".fab", ".airflows", ".envoys", "node_modules"} & set(page.parts)
            and page.name != "CHANGELOG.md"
        ):
            assert not told.search(page.read_text()), page


def test_no_page_writes_a_secret_that_others_can_read():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")):
        for line in page.read_text().splitlines():
            if "printf %s" in line and ">" in line:
                assert "umask 077" in line, f"{page}: {line}"


def test_the_tables_of_the_decision_log_have_every_field_of_a_line():
    text = (ROOT / "docs" / "decision-log.md").read_text()
    for name, fields in (
        ("decision_log", {*OwnFields.__annotations__, *OutboundFields.__annotations__}),
        ("identity_entry", set(IdentityEntry.__annotations__)),
        ("log_entry", set(LogEntry.__annotations__)),
    ):
        table = text.partition(f"<!-- table: {name} -->")[2].partition("<!-- end -->")[0]
        assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == sorted(fields)


def test_lint_refuses_the_words_that_readers_stumbled_over():
    from scripts import prose

    found = list(prose.findings("Fine.\nWhoever asks `nobody` is told"))
    assert [(line, word) for line, word, _ in found] == [(1, "Whoever"), (1, "is told")]
    assert all(advice for *_, advice in found)
    assert [text for _, text in prose.texts(ROOT / "docs" / "README.md") if "```" in text] == []
