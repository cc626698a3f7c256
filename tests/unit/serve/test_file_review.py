"""What lint says of the files that the settings name, before the gate or Envoy stumbles over them."""

import os
import socket

import pytest
from click.testing import CliRunner

from authz import settings
from authz.cli.main import main
from authz.core.lint.review import Severity
from authz.serve import file_review

SETTINGS = """
version: 1
listen: ["unix:/run/authz.sock"]
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
log:
  decisions: "{log}"
"""


@pytest.fixture
def found(tmp_path):
    """The findings about settings with this decision log."""

    def look(log, more=""):
        path = tmp_path / "authz.yaml"
        path.write_text(SETTINGS.format(log=log) + more)
        return [(one.severity, str(one.problem)) for one in file_review.findings(settings.load(path), "authz.yaml", 0)]

    return look


def test_a_log_whose_folder_does_not_exist_is_found(found, tmp_path):
    ((severity, text),) = found("logs/decisions.jsonl")
    assert severity is Severity.NOTE  # `lint --strict` runs where a policy is reviewed, too
    assert f"`log.decisions`: {tmp_path}/logs/decisions.jsonl cannot be written here" in text
    assert f"the folder {tmp_path}/logs: No such file or directory" in text
    (tmp_path / "logs").mkdir()
    assert found("logs/decisions.jsonl") == []
    (tmp_path / "logs" / "decisions.jsonl").touch()
    assert found("logs/decisions.jsonl") == []


def test_a_log_below_a_file_or_in_the_place_of_a_folder_a_fifo_or_a_socket_is_found(found, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        texts = {name: found(name)[0][1] for name in ("file/log", "folder", "fifo", "socket")}
    assert f"the folder {tmp_path}/file: it is not a folder" in texts.pop("file/log")
    assert all(f"it is a {name}, not a regular file" in text.lower() for name, text in texts.items())


@pytest.mark.parametrize("log", ["stdout", "/dev/null", "/dev/stdout"])
def test_a_stream_or_a_device_is_no_finding(found, log):
    assert found(log) == []


def test_every_file_that_is_written_is_looked_at(found):
    ((_, text),) = found("stdout", 'revocation: {file: "nowhere/revoked"}\n')
    assert "`revocation.file`" in text


@pytest.mark.parametrize(("mode", "count"), [(0o644, 1), (0o640, 0)])
def test_a_secret_that_everybody_can_read_is_found(found, tmp_path, mode, count):
    key = tmp_path / "assertion.pem"
    key.touch()
    key.chmod(mode)
    texts = [text for _, text in found("stdout")]
    assert len(texts) == count
    assert all("assertion.pem can be read by every account" in text for text in texts)


def test_the_command_says_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "authz.yaml").write_text(SETTINGS.format(log="logs/decisions.jsonl") + "policy: policy.yaml\n")
    assert "cannot be written here" in CliRunner().invoke(main, ["lint", "--settings", "authz.yaml"]).output


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o640, 1), (0o604, 1)])
@pytest.mark.parametrize("key", ["", ", salts: people"])
def test_a_file_of_salts_that_others_may_read_is_found(found, tmp_path, key, mode, count):
    salts = tmp_path / ("people" if key else "log.salts")
    salts.touch()
    salts.chmod(mode)
    more = f"  privacy: {{hash: [subject]{key}}}\n"
    texts = [text for _, text in found("log", more=more)]
    assert len(texts) == count
    assert all(f"`log.privacy.salts`: others may read {salts}" in text for text in texts)


def test_where_the_salts_would_be_is_looked_at_though_no_key_names_them(found):
    texts = [text for _, text in found("nowhere/log", "  privacy: {hash: [subject]}\n")]
    assert ["`log.decisions`" in texts[0], "`log.privacy.salts`" in texts[1]] == [True, True]
