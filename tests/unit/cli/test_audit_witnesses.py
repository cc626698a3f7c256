"""`authz audit` with witnesses: cosigned logs and receipts, what someone changed in them, and asking the witnesses."""

import json
import re
import shutil

import pytest
from click.testing import CliRunner

from authz.audit import witnessed
from authz.audit.layout import CHECKPOINT, WITNESSED
from authz.cli import main
from authz.core.audit import note
from authz.core.audit.checkpoint import Checkpoint
from authz.fetching.limits import Limits
from tests.support.factories.audit_logs import LOG, ORIGIN, WITNESSES, Key
from tests.support.factories.written_logs import checkpoint_of, line, lines_of, opened, written
from tests.support.simulators.witness import Latest, Witness, changed, hanging, status

KEY = str(LOG.public)
W0, W1, W2 = (str(key.public) for key in WITNESSES)
ALL = ("--witness", W0, "--witness", W1, "--witness", W2)
ID = f"{250:024x}"
TIME = 1_700_000_000
SHOWN = "2023-11-14T22:13:20Z"


def cosigned(data, *keys, time=TIME):
    """The checkpoint with these cosignatures behind its own signatures."""
    read = note.parse(data)
    return note.write(read.text, [*read.signatures, *(key.signature(read.text, time) for key in keys)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A log of 906 records, of which two witnesses have cosigned all."""
    monkeypatch.chdir(tmp_path)
    made = written(tmp_path / "audit", pack=[0])
    (made / WITNESSED).write_bytes(cosigned(checkpoint_of(made), *WITNESSES[:2]))
    return made


def grown(folder, count=5):
    log = opened(folder)
    log.append([line(number) for number in range(2000, 2000 + count)])
    log.close()


def run(*arguments):
    done = CliRunner().invoke(main, ["audit", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def verify(folder, *options):
    return run("verify", folder, "--key", KEY, *options)


def test_a_quorum_is_demanded_and_what_it_does_not_say_is_said(folder):
    grown(folder)
    exit_status, out, _ = verify(folder, *ALL, "--quorum", 2)
    assert exit_status == 0
    first, continues, remark = out.splitlines()
    assert first == f"verified: 913 records of {ORIGIN}, checkpoint of 913"
    names = f"{WITNESSES[0].public.name} at {SHOWN}, {WITNESSES[1].public.name} at {SHOWN}"
    assert continues == f"it continues {folder / WITNESSED}, of 906 records, cosigned by {names}"
    assert remark.startswith(f"note: cannot know what the log had after {SHOWN}, when the witnesses had cosigned")


def test_a_program_reads_who_cosigned_and_when(folder):
    found = json.loads(verify(folder, *ALL, "--quorum", 1, "--json")[1])
    assert (found["witnessed"], found["cosigned"]) == (906, {W0: TIME, W1: TIME})
    found = json.loads(verify(folder, "--json")[1])
    assert (found["witnessed"], found["cosigned"]) == (906, {})


def test_all_that_are_given_must_have_cosigned_unless_a_quorum_says_fewer(folder):
    assert verify(folder, "--witness", W0, "--witness", W1)[0] == 0
    exit_status, _, err = verify(folder, *ALL)
    assert (exit_status, "2 witnesses cosigned the checkpoint, 3 must have" in err) == (1, True)


def test_a_receipt_of_a_log_with_two_keys_says_what_its_quorum_lacks(folder):
    """Only one of the keys signed: the other is no reason to say that none did."""
    assert run("prove", ID, folder, "--key", KEY, "--output", "receipt")[0] == 0
    other = str(Key(ORIGIN, 99).public)
    for keys in (("--key", KEY, "--key", other), ("--key", other, "--key", KEY)):
        exit_status, _, err = run("check-receipt", "receipt", *keys, *ALL)
        assert (exit_status, "2 witnesses cosigned the checkpoint, 3 must have" in err) == (1, True), err


def test_without_a_witnessed_checkpoint_no_quorum_has_cosigned(folder):
    (folder / WITNESSED).unlink()
    exit_status, _, err = verify(folder, "--witness", W0)
    assert exit_status == 1
    assert "no quorum has cosigned the log" in err
    assert verify(folder)[0] == 0
    found = json.loads(verify(folder, "--json")[1])
    assert (found["witnessed"], found["cosigned"]) == (None, {})


def replaced_line(text, key, time):
    """The witnessed note with the first witness's line by this key and time instead."""
    lines = text.splitlines(keepends=True)
    at = next(at for at, one in enumerate(lines) if WITNESSES[0].public.name in one)
    lines[at] = f"{key.signature(''.join(lines[:3]), time)}\n"
    return "".join(lines)


def of_other_text(text, change):
    """Cosignatures of another checkpoint, behind the text and the log's signature of this one."""
    read = note.parse(text.encode())
    other = [key.signature(change(read.text), TIME) for key in WITNESSES[:2]]
    return note.write(read.text, [read.signatures[0], *other]).decode()


def older_time(text):
    """The time in a cosignature is set back, its signature stays."""
    read = note.parse(text.encode())
    log, first, second = read.signatures
    aged = first._replace(value=(TIME - 1000).to_bytes(8, "big") + first.value[8:])
    return note.write(read.text, [log, aged, second]).decode()


TAMPERED = {
    "another root": lambda text: of_other_text(text, lambda it: Checkpoint(ORIGIN, 906, bytes(32)).text),
    "another origin": lambda text: of_other_text(text, lambda it: it.replace("eu-1", "eu-2")),
    "an older tree": lambda text: of_other_text(text, lambda it: it.replace("\n906\n", "\n905\n")),
    "another key of the same name": lambda text: replaced_line(
        text, Key(WITNESSES[0].public.name, 77, WITNESSES[0].public.type), TIME
    ),
    "an older time": older_time,
    "a line of the log's key": lambda text: replaced_line(text, LOG, 0),
    "a line that is missing": lambda text: "".join(text.splitlines(keepends=True)[:-1]),
    "a line that is there twice": lambda text: text + text.splitlines(keepends=True)[-1],
    "another text": lambda text: text.replace("\n906\n", "\n905\n"),
    "no signature of the log": lambda text: "".join(
        one for one in text.splitlines(keepends=True) if not one.startswith(f"— {ORIGIN} ")
    ),
    "nothing": lambda _text: "",
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_what_someone_changed_in_the_witnessed_checkpoint_is_no_quorum(folder, change):
    path = folder / WITNESSED
    path.write_text(change(path.read_text()))
    exit_status, out, err = verify(folder, *ALL, "--quorum", 2)
    assert exit_status == 1
    assert "verified" not in out
    assert err.startswith("broken: ")
    (folder / CHECKPOINT).write_bytes(path.read_bytes() or b"x")  # the same in the place of the checkpoint
    assert verify(folder, *ALL, "--quorum", 2)[0] == 1


def test_a_log_that_was_cut_or_replaced_since_its_witnessed_checkpoint_is_found_without_any_option(folder, tmp_path):
    before = shutil.copytree(folder, tmp_path / "before")
    grown(folder)
    (before / WITNESSED).write_bytes(cosigned(checkpoint_of(folder), *WITNESSES))
    exit_status, out, _ = verify(before)
    assert exit_status == 1
    assert f"{before / WITNESSED}: the log had 913 records, and has 906 now: it was cut or rolled back" in out
    other = written(tmp_path / "other", [200, 600, 300])
    shutil.copy(folder / WITNESSED, other / WITNESSED)
    exit_status, out, _ = verify(other)
    assert exit_status == 1
    assert "are not those of this checkpoint: the log was replaced" in out


def test_a_witnessed_checkpoint_that_proves_nothing_is_a_note_where_no_quorum_is_demanded(folder):
    """A key of the log may have changed since the witnesses were last there."""
    (folder / WITNESSED).write_bytes(b"nothing")
    exit_status, out, _ = verify(folder)
    assert exit_status == 0
    assert f"note: {folder / WITNESSED}: not a text, an empty line and signature lines: it is not used\n" in out
    assert verify(folder, "--witness", W0)[0] == 1


def test_a_receipt_has_the_witnessed_checkpoint_as_soon_as_it_covers_the_record(folder):
    grown(folder)
    assert run("prove", ID, folder, "--output", "receipt")[0] == 0
    exit_status, out, err = run("check-receipt", "receipt", "--key", KEY, *ALL, "--quorum", 2)
    assert (exit_status, out) == (0, f"{lines_of(folder)[253].decode()}\n")
    assert f"in its checkpoint of 906, cosigned by {WITNESSES[0].public.name} at {SHOWN}" in err
    found = json.loads(run("check-receipt", "receipt", "--key", KEY, *ALL, "--quorum", 2, "--json")[1])
    assert (found["size"], found["cosigned"]) == (906, {W0: TIME, W1: TIME})
    assert run("check-receipt", "receipt", "--key", KEY)[0] == 0
    exit_status, _, err = run("check-receipt", "receipt", "--key", KEY, *ALL)
    assert (exit_status, "2 witnesses cosigned the checkpoint, 3 must have" in err) == (1, True)


def test_a_newer_record_has_the_newer_checkpoint_and_no_quorum(folder):
    grown(folder)
    assert run("prove", f"{2001:024x}", folder, "--output", "receipt")[0] == 0
    assert run("check-receipt", "receipt", "--key", KEY)[0] == 0
    assert run("check-receipt", "receipt", "--key", KEY, "--witness", W0)[0] == 1


def test_a_witnessed_checkpoint_of_another_key_makes_no_receipt(folder):
    (folder / WITNESSED).write_bytes(b"nothing")
    assert run("prove", ID, folder, "--output", "receipt")[0] == 0
    assert run("check-receipt", "receipt", "--key", KEY, "--witness", W0)[0] == 1


@pytest.mark.parametrize("change", [one for name, one in TAMPERED.items() if name != "nothing"])
def test_what_someone_changed_in_a_receipts_checkpoint_is_no_quorum(folder, tmp_path, change):
    run("prove", ID, folder, "--output", "receipt")
    head, _, signed = (tmp_path / "receipt").read_text().partition("\n\n")
    (tmp_path / "receipt").write_text(f"{head}\n\n{change(signed)}")
    exit_status, out, _ = run("check-receipt", "receipt", "--key", KEY, *ALL, "--quorum", 2)
    assert (exit_status, out) == (1, "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--quorum", "1"], "there are 0 keys of witnesses"),
        (["--witness", W0, "--quorum", "2"], "there are 1 keys of witnesses"),
        (["--witness", W0, "--quorum", "0"], "not in the range"),
        (["--witness", KEY], "not of the type of a witness's key"),
        (["--witness", "absent"], "the key cannot be read"),
        (["--ask-witness", "https://w.test"], "give --witness KEY"),
        (["--witness", W0, "--ask-witness", "http://w.test"], "http is for this machine only"),
        (["--witness", W0, "--ask-witness", "w.test"], "not an http or https URL"),
    ],
)
def test_a_mistake_in_the_options_is_said(folder, options, words):
    exit_status, _, err = verify(folder, *options)
    assert (exit_status, words in re.sub(r"\s+", " ", err)) == (2, True), err


def test_the_keys_of_witnesses_may_be_in_a_file(folder, tmp_path):
    (tmp_path / "witnesses.txt").write_text(f"{W0}\n{W1}\n")
    assert verify(folder, "--witness", "witnesses.txt")[0] == 0


@pytest.fixture
def witness(folder):
    """A witness that has cosigned all 906 records; its key is that of the first one."""
    with Witness(WITNESSES[0].public.name, 10, [KEY]) as made:
        assert made.key == W0
        note_ = cosigned(checkpoint_of(folder), WITNESSES[0])
        made.latest[ORIGIN] = Latest(906, bytes(32), note_)
        yield made


def ask(folder, witness):
    return verify(folder, "--witness", W0, "--ask-witness", witness.url)


def test_a_witness_is_asked_what_it_knows(folder, witness):
    grown(folder)
    exit_status, out, _ = ask(folder, witness)
    assert exit_status == 0
    _, _, asked = out.splitlines()
    assert asked.startswith(f"it continues {witness.url}/")
    assert asked.endswith(f"/checkpoint, of 906 records, cosigned by {WITNESSES[0].public.name} at {SHOWN}")


def test_a_folder_that_was_rolled_back_as_a_whole_is_found_by_asking(folder, witness, tmp_path):
    """Log and witnessed checkpoint are yesterday's: only the witness knows."""
    before = shutil.copytree(folder, tmp_path / "before")
    grown(folder)
    witness.latest[ORIGIN] = Latest(913, bytes(32), cosigned(checkpoint_of(folder), WITNESSES[0]))
    assert verify(before, "--witness", W0)[0] == 0, "its own folder cannot show it"
    exit_status, out, _ = ask(before, witness)
    assert exit_status == 1
    assert "the log had 913 records, and has 906 now: it was cut or rolled back" in out


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        (status(404), "answers with status 404"),
        (status(500), "answers with status 500"),
        (status(302, Location="http://w.test/"), "redirects to another host"),
        (status(200, b"x" * 600_000), "more than 524288 bytes"),
        (status(200, b"nothing"), "not a text, an empty line"),
        (changed(lambda body: body.replace(b"906", b"905")), "is wrong"),
        (changed(lambda body: b"".join(body.splitlines(keepends=True)[:-1])), "0 witnesses cosigned"),
    ],
)
def test_a_witness_that_shows_no_checkpoint_of_the_log_is_an_error(folder, witness, instead, words):
    witness.misbehave(instead)
    exit_status, out, err = ask(folder, witness)
    assert (exit_status, out) == (2, "")
    assert words in err


def test_a_witness_that_hangs_is_not_waited_for(folder, witness, monkeypatch):
    monkeypatch.setattr(witnessed, "_LIMITS", Limits(timeout_s=0.2))
    witness.misbehave(hanging)
    exit_status, _, err = ask(folder, witness)
    assert (exit_status, "takes too long" in err) == (2, True)


def test_a_time_that_no_calendar_has_is_shown_as_a_number(folder):
    (folder / WITNESSED).write_bytes(cosigned(checkpoint_of(folder), WITNESSES[0], time=(1 << 63) - 1))
    assert "at second 9223372036854775807" in verify(folder, "--witness", W0)[1]
