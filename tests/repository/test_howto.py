"""The how-tos are true: their policies have no findings, their commands print what they show, their settings render.

The README's conventions hold here too (test_docs.py). In a table of failures, the first column is a status and a reason
that the gate really gives together.
"""

import gzip
import re
import shlex

import pytest
from click.testing import CliRunner

from authz.audit import receipts
from authz.cli import main
from authz.core.audit import note
from authz.core.cases import load
from authz.core.lint import review
from authz.core.policy import Bundle
from authz.core.reasons import ANSWERS, Reason
from tests.repository.test_docs import ROOT
from tests.support.factories.asked_logs import story
from tests.support.factories.audit_logs import WITNESSES
from tests.support.factories.decision_logs import day_of
from tests.support.factories.written_logs import KEY, checkpoint_of, copied, edit, line, written

PARTS = {
    "filters.http.ext_authz": "inbound:",
    "filters.http.oauth2": "login:",
    "filters.http.credential_injector": "credential:",
    "tracers.opentelemetry": "tracing:",
}
FOLDER = ROOT / "docs" / "howto"
PAGES = sorted(FOLDER.glob("*.md"))
WITHOUT_POLICY = {
    *("audit", "command-line", "deploy-kubernetes", "gateways", "query", "ship", "story", "systemd", "tracing"),
    "which-front",
}


def saved_files(page):
    """Blocks after a sentence that ends with a file name."""
    text = page.read_text()
    return dict(re.findall(r"`([\w/]+\.yaml)`[^`]*:\n\n```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def commands():
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield pytest.param(page, command, output, id=f"{page.stem}: {command[:60]}")


def failures():
    for page in PAGES:
        for cell in re.findall(r"^\| `(\d{3} [^`|]+)`", page.read_text(), re.MULTILINE):
            yield pytest.param(cell, id=f"{page.stem}: {cell}")


@pytest.fixture
def saved(request, tmp_path):
    page = request.getfixturevalue("page")
    for name, text in saved_files(page).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    if page.stem == "replay":
        policy = load(Bundle((tmp_path / "policy.yaml").read_bytes(), "policy.yaml")).policy
        (tmp_path / "decisions.jsonl").write_bytes(day_of(policy))
    if page.stem in {"query", "ship"}:
        asked_log(tmp_path / "log")
    if page.stem == "story":
        (tmp_path / "log").mkdir()
        (tmp_path / "log" / "decisions.jsonl").write_bytes(b"\n".join([*story(), b""]))
    if page.stem == "audit":
        signed_logs(tmp_path)
    return tmp_path


def asked_log(folder):
    """The day of the page about replaying; the second half is in the file of today."""
    policy = saved_files(FOLDER / "replay.md")["policy.yaml"]
    lines = day_of(load(Bundle(policy.encode(), "policy.yaml")).policy).splitlines(keepends=True)
    folder.mkdir()
    (folder / "decisions.jsonl.1.gz").write_bytes(gzip.compress(b"".join(lines[:20])))
    (folder / "decisions.jsonl").write_bytes(b"".join(lines[20:]))


def signed_logs(folder):
    """The log of the page as it was on Monday, as it is, and edited; checkpoints of both days, the key, a receipt."""
    log, monday = folder / "audit", folder / "monday"
    written(log, pack=[0], closed=lambda at: copied(log, monday) if at else None)
    edit(copied(log, folder / "edited") / "decisions.jsonl", lambda lines: lines.__setitem__(9, line(5)))
    (folder / "monday.checkpoint").write_bytes(checkpoint_of(monday))
    (folder / "today.checkpoint").write_bytes(checkpoint_of(log))
    (folder / "keys.txt").write_bytes((log / "verifier-keys").read_bytes())
    data = checkpoint_of(copied(log, folder / "cosigned"))
    read = note.parse(data)
    cosignatures = [key.signature(read.text, 1_700_000_000) for key in WITNESSES[1:]]
    (folder / "cosigned" / "witnessed").write_bytes(note.write(read.text, [*read.signatures, *cosignatures]))
    (folder / "witnesses.txt").write_text("".join(f"{key.public}\n" for key in WITNESSES))
    (folder / "receipt").write_bytes(receipts.prove(log, receipts.find(log, f"{250:024x}"), [KEY.public]))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem not in WITHOUT_POLICY], ids=lambda page: page.stem
)
def test_the_policy_of_a_how_to_has_no_findings(page):
    text = saved_files(page)["policy.yaml"]
    assert review.lint(load(Bundle(text.encode(), page.name)).policy) == []


def authz(command, folder, monkeypatch):
    """Run an `authz …` line in this process, in a folder: a new process for each line would take a minute in all."""
    program, *arguments = shlex.split(command)
    assert program == "authz"
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(("page", "command", "output"), list(commands()))
def test_every_command_of_a_how_to_does_what_it_shows(page, command, output, saved, monkeypatch):
    command, _, comment = command.partition("   # exit status ")
    result = authz(command, saved, monkeypatch)
    assert (result.output, result.exit_code) == (output, int(comment or 0))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "authz.yaml" in saved_files(page)], ids=lambda page: page.stem
)
def test_the_settings_of_a_how_to_render_an_envoy_configuration(page, saved, monkeypatch):
    rendered = authz("authz envoy --settings authz.yaml --output envoy.yaml", saved, monkeypatch)
    assert rendered.exit_code == 0, rendered.output
    settings, envoy = (saved / "authz.yaml").read_text(), (saved / "envoy.yaml").read_text()
    found = {part for part, told in PARTS.items() if told in settings}
    assert found
    assert {part for part in PARTS if part in envoy} == found


@pytest.mark.parametrize("cell", list(failures()))
def test_failures_in_a_how_to_are_answers_that_the_gate_gives(cell):
    status, _, reason = cell.partition(" ")
    assert ANSWERS[Reason(reason)].http == int(status)


def test_every_how_to_is_listed_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert [page.name for page in PAGES if f"docs/howto/{page.name}" not in readme] == []
