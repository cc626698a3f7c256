"""`authz audit`: real logs; what it prints, how it ends, and what it says about a missing or wrong file."""

import json
import os

import pytest
from click.testing import CliRunner

from authz.audit.layout import CHECKPOINT, OPEN_FILE, VERIFIER_KEYS, closed_files
from authz.cli import main
from tests.support.factories.audit_logs import LOG, WITNESSES, Key
from tests.support.factories.written_logs import OTHER, edit, forged, line, opened, written

KEY = str(LOG.public)
ID = f"{250:024x}"
INDEX = 253


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return written(tmp_path / "audit", pack=[0])


def run(*arguments):
    """Exit status, standard output and standard error."""
    done = CliRunner().invoke(main, ["audit", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_a_log_verifies_and_what_cannot_be_known_is_said(folder):
    status, out, err = run("verify", folder, "--key", KEY)
    assert (status, err) == (0, "")
    first, note = out.splitlines()
    assert first == "verified: 906 records of gate.example/audit/eu-1, checkpoint of 906"
    assert note.startswith("note: cannot know whether the end of the log was cut")


def test_without_a_key_it_says_that_the_keys_are_the_logs_own(folder):
    status, out, _ = run("verify", folder)
    assert status == 0
    assert "note: the keys are those in the log's own folder" in out
    found = json.loads(run("verify", folder, "--json")[1])
    assert (found["verified"], found["records"], found["size"], found["keys"]) == (True, 906, 906, [KEY])
    assert len(found["notes"]) == 2


def test_a_program_reads_whether_a_given_key_signed_the_log(folder):
    for keys, trusted in (([], False), (["--key", KEY], True)):
        assert json.loads(run("verify", folder, *keys, "--json")[1])["trusted_key"] is trusted
    (folder / CHECKPOINT).write_text("")
    for keys, trusted in (([], False), (["--key", KEY], True)):
        found = json.loads(run("verify", folder, *keys, "--json")[1])
        assert (found["verified"], found["trusted_key"]) == (False, trusted)


def test_the_current_folder_is_the_log(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert run("verify", "--key", VERIFIER_KEYS)[0] == 0


def test_the_first_bad_record_is_named(folder):
    path = folder / OPEN_FILE
    edit(path, lambda lines: lines.__setitem__(9, line(5)))
    status, out, _ = run("verify", folder, "--key", KEY)
    assert status == 1
    assert out.startswith(f"broken: {path}:10: record 613: the line is not what was logged: it was changed\n")
    status, out, _ = run("verify", folder, "--key", KEY, "--json")
    found = json.loads(out)
    assert (status, found["verified"]) == (1, False)
    (one,) = found["findings"]
    assert (one["file"], one["line"], one["index"]) == (str(path), 10, 613)


def test_a_log_that_was_rolled_back_is_found_with_a_checkpoint(folder, tmp_path):
    status, out, _ = run("checkpoint", folder)
    assert status == 0
    assert out == (folder / CHECKPOINT).read_text()
    before = (folder / CHECKPOINT).read_bytes(), (folder / OPEN_FILE).read_bytes()
    log = opened(folder)
    log.append([line(5)])
    log.close()
    (tmp_path / "kept").write_text(run("checkpoint", folder)[1])
    status, out, _ = run("verify", folder, "--key", KEY, "--since", "kept")
    assert status == 0
    assert out.splitlines()[1:] == ["it continues kept, of 909 records"]
    (folder / CHECKPOINT).write_bytes(before[0])
    (folder / OPEN_FILE).write_bytes(before[1])
    assert run("verify", folder, "--key", KEY)[0] == 0
    status, out, _ = run("verify", folder, "--key", KEY, "--since", "kept")
    assert status == 1
    assert out.startswith("broken: kept: the log had 909 records, and has 906 now: it was cut or rolled back\n")


def assert_no_count(folder, *options):
    status, out, _ = run("verify", folder, "--key", KEY, *options)
    assert status == 1
    assert out.startswith("broken: ")
    assert "up to there" not in out
    assert "no record is known to be what gate.example/audit/eu-1 signed\n" in out
    assert json.loads(run("verify", folder, "--key", KEY, *options, "--json")[1])["records"] is None


def test_no_record_is_counted_as_signed_where_the_tiles_are_not(folder, tmp_path):
    """The files of another log beside the checkpoint of this one."""
    head = (folder / CHECKPOINT).read_bytes()
    other = written(tmp_path / "other", [200, 400, 300])
    (other / CHECKPOINT).write_bytes(head)
    assert_no_count(other)
    edit(folder / OPEN_FILE, lambda lines: lines.__setitem__(9, line(5)))
    forged(folder)
    assert_no_count(folder)
    edit(folder / OPEN_FILE, lambda lines: lines.__setitem__(20, line(5)))
    assert_no_count(folder)


def test_no_record_of_a_log_that_was_replaced_is_counted(folder, tmp_path):
    other = written(tmp_path / "other", [200, 500, 300])
    (tmp_path / "kept").write_text(run("checkpoint", folder)[1])
    assert_no_count(other, "--since", "kept")


OTHER_NAME = "the log is of gate.example/audit/eu-1, and the key is of"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (OTHER, "no known key signed the note"),
        (Key("gate.example/audit/eu-2", 1), f"{OTHER_NAME} gate.example/audit/eu-2"),
    ],
)
def test_a_log_of_another_key_is_broken(folder, key, text):
    option = ["--key", str(key.public)]
    status, out, err = run("verify", folder, *option)
    assert (status, out) == (1, "")
    assert err == f"broken: {folder / CHECKPOINT}: {text}\n"
    assert json.loads(run("verify", folder, *option, "--json")[1])["verified"] is False


def test_a_decision_is_proved_and_its_receipt_checked_with_the_key_alone(folder, tmp_path):
    status, out, _ = run("prove", ID, folder)
    assert status == 0
    assert out.startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert run("prove", ID, folder, "--output", "receipt")[:2] == (0, "")
    assert (tmp_path / "receipt").read_text() == out
    (tmp_path / "key").write_text(f"{OTHER.public}\n{KEY}\n")
    status, out, err = run("check-receipt", "receipt", "--key", "key")
    assert (status, out) == (0, line(250).decode() + "\n")
    assert err == f"record {INDEX} of gate.example/audit/eu-1, in its checkpoint of 906:\n"
    found = json.loads(run("check-receipt", "receipt", "--key", KEY, "--json")[1])
    assert (found["verified"], found["index"], found["entry"]) == (True, INDEX, line(250).decode())
    (tmp_path / "record").write_bytes(line(250) + b"\n")
    assert run("check-receipt", "receipt", "--key", KEY, "--record", "record")[0] == 0
    (tmp_path / "record").write_bytes(line(251) + b"\n")
    status, out, err = run("check-receipt", "receipt", "--key", KEY, "--record", "record")
    assert (status, out) == (1, "")
    assert err == "broken: receipt: the inclusion proof does not lead from the entry to the root\n"


def test_a_receipt_for_another_key_proves_nothing(folder):
    run("prove", ID, folder, "--output", "receipt")
    status, out, err = run("check-receipt", "receipt", "--key", OTHER.public)
    assert (status, out, err) == (1, "", "broken: receipt: no known key signed the note\n")
    assert json.loads(run("check-receipt", "receipt", "--key", OTHER.public, "--json")[1])["verified"] is False
    assert run("check-receipt", "receipt", "--key", WITNESSES[0].public)[0] == 2


def test_an_edited_record_has_no_receipt(folder, tmp_path):
    path = closed_files(folder)[1].path
    edit(path, lambda lines: lines.__setitem__(100, line(399, more=1)))
    refused = f"broken: {path}:101: record 403: the line is not what was logged: it was changed\n"
    assert run("prove", f"{399:024x}", folder, "--output", "receipt") == (1, "", refused)
    assert not (tmp_path / "receipt").exists()
    edit(path, lambda lines: lines.__setitem__(100, b" " + line(399)))
    status, out, err = run("prove", f"{399:024x}", folder)
    assert (status, out) == (1, "")
    assert err.startswith(f"broken: {path}:101: record 403: it is no line that a log has")


def test_a_torn_forged_record_has_no_receipt(folder):
    path = closed_files(folder)[1].path
    with path.open("ab") as file:
        file.write(line(5555))
    status, out, err = run("prove", f"{5555:024x}", folder)
    assert (status, out) == (1, "")
    assert err.startswith(f"broken: {path}:302: record 604: ")


def test_a_record_that_was_changed_with_its_tiles_has_no_receipt(folder):
    path = closed_files(folder)[1].path
    edit(path, lambda lines: lines.__setitem__(100, line(399, more=1)))
    forged(folder)
    status, out, err = run("prove", f"{399:024x}", folder)
    assert (status, out) == (1, "")
    assert err.startswith(f"broken: {path}:101: record 403: the tiles do not lead from it to the root")


def test_a_receipt_has_a_checkpoint_that_the_log_signed(folder):
    status, out, err = run("prove", ID, folder, "--key", OTHER.public)
    assert (status, out) == (1, "")
    assert err == f"broken: {folder / CHECKPOINT}: no known key signed the note\n"
    assert run("prove", ID, folder, "--key", KEY)[0] == 0


def test_a_decision_that_is_not_there_is_not_proved(folder):
    assert run("prove", "f" * 24, folder) == (
        1,
        "",
        f"broken: {folder} has no decision 'ffffffffffffffffffffffff', or its file was removed\n",
    )


def test_a_decision_that_no_checkpoint_covers_is_not_proved(folder):
    with (folder / OPEN_FILE).open("ab") as file:
        file.write(line(5555) + b"\n")
    status, _, err = run("prove", f"{5555:024x}", folder)
    assert status == 1
    assert "record 906 is newer than the last checkpoint, which covers 906" in err


def test_the_keys_are_printed_newest_first(folder):
    assert run("key", folder) == (0, f"{KEY}\n", "")


def test_a_log_without_its_keys_needs_one(folder):
    (folder / VERIFIER_KEYS).unlink()
    status, out, err = run("verify", folder)
    assert (status, out) == (2, "")
    assert err == f"error: {folder / VERIFIER_KEYS}: the log's public keys are missing (give --key KEY)\n"
    assert run("verify", folder, "--key", KEY)[0] == 0


def test_a_checkpoint_that_no_key_signed_is_not_printed(folder):
    (folder / VERIFIER_KEYS).write_text(f"{OTHER.public}\n")
    assert run("checkpoint", folder)[0] == 1


def test_lines_that_are_not_signed_yet_are_counted(folder):
    with (folder / OPEN_FILE).open("ab") as file:
        file.write(line(5) + b"\n" + b"{")
    out = run("verify", folder, "--key", KEY)[1]
    assert "note: 1 after the checkpoint are not signed yet" in out
    assert "note: the last line is not complete" in out
    assert json.loads(run("verify", folder, "--key", KEY, "--json")[1])["torn"] is True


def test_files_beside_the_log_are_named_and_change_no_result(folder):
    for name in ("evil.jsonl", "decisions.jsonl.1", "decisions-1.jsonl", "a\nb.jsonl"):
        (folder / name).write_bytes(line(5) + b"\n")
    note = "not part of the log: a\\nb.jsonl, decisions-1.jsonl, decisions.jsonl.1, evil.jsonl"
    status, out, _ = run("verify", folder, "--key", KEY)
    assert status == 0
    assert f"note: {note}\n" in out
    status, out, _ = run("verify", folder, "--key", KEY, "--json")
    assert (status, json.loads(out)["verified"]) == (0, True)
    assert note in json.loads(out)["notes"]
    for number in range(20):
        (folder / f"a{number:02}.jsonl").touch()
    assert "a08.jsonl, and 14 more\n" in run("verify", folder, "--key", KEY)[1]


def test_a_torn_line_of_a_closed_file_is_broken(folder):
    path = closed_files(folder)[1].path
    with path.open("ab") as file:
        file.write(line(5))
    status, out, _ = run("verify", folder, "--key", KEY)
    assert status == 1
    assert out.startswith(f"broken: {path}:302: record 604: ")
    assert "not complete" not in out
    assert json.loads(run("verify", folder, "--key", KEY, "--json")[1])["torn"] is False


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["verify", "nowhere"], "nowhere: there is no such folder (name the folder of the log)"),
        (["verify", "empty"], "empty: there is no log in this folder (name the folder that has"),
        (["checkpoint", "empty"], "empty: there is no log in this folder"),
        (["prove", ID, "empty"], "empty: there is no log in this folder"),
        (["key", "empty"], "empty: there is no log in this folder"),
        (["verify", "audit", "--key", "nowhere"], "nowhere: the key cannot be read: No such file or directory (give a"),
        (["verify", "audit", "--key", "audit/checkpoint"], "audit/checkpoint: a line of the file is no verifier key"),
        (["verify", "audit", "--key", "blank"], "blank: the file has no verifier key"),
        (["verify", "audit", "--since", "nowhere"], "nowhere: the checkpoint cannot be read: No such file"),
        (["verify", "audit", "--since", "blank"], "blank: not a text, an empty line and signature lines (give a"),
        (["check-receipt", "nowhere", "--key", KEY], "No such file or directory: nowhere"),
        (["check-receipt", "blank"], "Missing option '--key'"),
    ],
)
def test_a_missing_or_wrong_file_is_an_error(folder, tmp_path, arguments, text):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank").touch()
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert text in err


@pytest.mark.timeout(30)
@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    ("put", "kind"),
    [(os.mkfifo, "a FIFO"), (lambda path: path.symlink_to("/dev/zero"), "a device"), (os.mkdir, "a folder")],
)
def test_what_is_no_file_in_place_of_one_is_an_error_at_once(folder, at, put, kind):
    """A FIFO would be waited for, and a device read for ever."""
    path = [*(file.path for file in closed_files(folder)), folder / OPEN_FILE][at]
    path.unlink()
    put(path)
    for command in (["verify", folder, "--key", KEY], ["verify", folder, "--json"], ["prove", "f" * 24, folder]):
        status, out, err = run(*command)
        assert (status, out) == (2, "")
        assert err == f"error: it is {kind}, not a regular file: {path}\n"


def test_a_receipt_that_is_none_proves_nothing(folder, tmp_path):
    (tmp_path / "blank").touch()
    assert run("check-receipt", "blank", "--key", KEY) == (1, "", "broken: blank: not a receipt\n")
