"""Witnesses over real HTTP: what they cosign, what they refuse, and how they misbehave."""

import contextlib
import logging
import shutil
import threading

import pytest

from authz.audit import witnesses
from authz.audit.layout import WITNESSED
from authz.audit.tile_files import TileFiles
from authz.audit.witnesses import Witness, Witnesses
from authz.core.audit import checkpoint
from authz.core.audit.checkpoint import Trust
from authz.core.audit.cosigning import Pace
from authz.core.audit.keys import VerifierKey
from authz.core.errors import AuditBrokenError
from authz.core.urls import Url
from authz.fetching.limits import Limits
from authz.system.clock import SystemClock
from tests.support.factories.audit_logs import LOG, ORIGIN
from tests.support.factories.certificates import Authority
from tests.support.factories.written_logs import KEY, NEXT_KEY, OTHER, checkpoint_of, copied, line, opened
from tests.support.simulators import witness as simulator
from tests.support.waiting import wait_for

QUICK = Pace(every=0.0, patience=0.2, first=0.02, longest=0.1)
NAME = "witness.example/w"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
def log(folder):
    made = opened(folder)
    yield made
    with contextlib.suppress(OSError):
        made.close()


@pytest.fixture
def served():
    """Three witnesses that know the log."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(simulator.Witness(f"{NAME}{at}", 10 + at, [str(LOG.public)])) for at in range(3)]


def trust_of(served, quorum, key=KEY):
    public = tuple(VerifierKey.parse(one.key) for one in served)
    return Trust(log=key.public, witnesses=public, quorum=quorum)


def asking(folder, served, quorum=2, pace=QUICK, key=KEY):
    known = [Witness(VerifierKey.parse(one.key), Url.parse(one.url)) for one in served]
    made = Witnesses(known, trust_of(served, quorum, key), TileFiles(folder), SystemClock(), pace)
    made.start()
    return made


@contextlib.contextmanager
def asked(folder, log, served, **options):
    """Witnesses that are asked about the log's checkpoint."""
    made = asking(folder, served, **options)
    made.offer(log.head)
    try:
        yield made
    finally:
        made.finish(log.head, 0)


def taken(asked, log):
    """The note with a quorum, kept as the log's writer does; it is the newest that comes."""
    found = []

    def take():
        found.append(asked.take())
        return found[-1]

    wait_for(take)
    log.keep_witnessed(found[-1])
    return found[-1]


def grown(log, count):
    log.append([line(number) for number in range(count)])
    return log.checkpoint()


def state(asked, at=0):
    return asked.status()[at]


def test_a_quorum_cosigns_each_checkpoint_and_proofs_lead_from_one_to_the_next(folder, log, served):
    with asked(folder, log, served) as made:
        for count in (1, 300, 5, 700):
            head = grown(log, count)
            made.offer(head)
            wait_for(lambda size=log.size: all(one.latest[ORIGIN].size == size for one in served if one.latest))
            wait_for(lambda size=log.size: taken(made, log).startswith(b"%s\n%d\n" % (ORIGIN.encode(), size)))
    verified = checkpoint.verify((folder / WITNESSED).read_bytes(), trust_of(served, 2))
    assert verified.checkpoint.size == log.witnessed == log.size
    assert {one for server in served for one in server.statuses} <= {200}


def test_a_witness_that_knows_a_smaller_log_gets_a_proof_from_there(folder, log, served):
    """A writer that is started again knows nothing of what was cosigned."""
    grown(log, 300)
    with asked(folder, log, served, quorum=3) as made:
        taken(made, log)
    grown(log, 300)
    with asked(folder, log, served, quorum=3) as again:
        wait_for(lambda: all(one.latest[ORIGIN].size == log.size for one in served))
        taken(again, log)
    for one in served:
        assert one.statuses == [200, 409, 200]
        assert [body.partition(b"\n")[0] for body in one.requests][1:] == [b"old 0", b"old 303"]
        assert one.requests[-1].partition(b"\n\n")[0].count(b"\n") > 1


def test_a_witness_that_has_cosigned_this_very_checkpoint_does_it_again(folder, log, served):
    grown(log, 10)
    for _ in range(2):
        with asked(folder, log, served, quorum=3) as made:
            taken(made, log)
    assert served[0].statuses == [200, 409, 200]


@pytest.mark.parametrize("how", [simulator.hanging, simulator.dripping, simulator.endless, simulator.silent])
def test_a_witness_that_does_not_answer_holds_up_no_quorum_of_the_others(folder, log, served, how, monkeypatch):
    monkeypatch.setattr(witnesses, "LIMITS", Limits(timeout_s=0.3, max_bytes=64 * 1024))
    served[0].misbehave(how)
    with asked(folder, log, served) as made:
        for _ in range(3):
            made.offer(grown(log, 3))
            wait_for(lambda: taken(made, log) and log.witnessed == log.size)
        wait_for(lambda: state(made).problem)
        assert state(made).counts["unreachable"] > 0
        served[0].behave()
        wait_for(lambda: state(made).known == log.size)
        assert state(made).problem == ""


def of_text(change, **options):
    """A cosignature of another text, by the right key."""

    def instead(handler, _answer):
        text = handler.server.witness.requests[-1].decode().partition("\n\n")[2].rpartition("\n\n")[0] + "\n"
        handler.say(200, handler.server.witness.cosignature(change(text), **options))

    return instead


def another_root(text):
    origin, size, root, _ = text.split("\n")
    return f"{origin}\n{size}\n{'A' + root[1:]}\n"


def replaced_time(body):
    """The line with an older time in it, and the signature as it was."""
    head, name, value = body.decode().rstrip("\n").split(" ")
    data = bytearray(simulator.base64.b64decode(value))
    data[4:12] = (1).to_bytes(8, "big")
    return f"{head} {name} {simulator.base64.b64encode(bytes(data)).decode()}\n".encode()


def by_another_key(handler, _answer):
    text = handler.server.witness.requests[-1].decode().partition("\n\n")[2].rpartition("\n\n")[0] + "\n"
    handler.say(200, simulator.Witness(f"{NAME}0", 99).cosignature(text))


def once_larger_and_smaller(handler, answer):
    """Says each time another size than it was asked about."""
    old = int(handler.server.witness.requests[-1].split(b"\n")[0].split()[1])
    handler.say(409, b"%d\n" % (1 if old != 1 else 2), "text/x.tlog.size")


WRONG = {
    "another root": (of_text(another_root), "invalid", "is wrong"),
    "another log": (of_text(lambda text: "x" + text), "invalid", "is wrong"),
    "another size": (of_text(lambda text: text.replace("\n4\n", "\n5\n")), "invalid", "is wrong"),
    "no time": (of_text(str, when=0), "invalid", "says no time"),
    "another time": (simulator.changed(replaced_time), "invalid", "is wrong"),
    "another key of its name": (by_another_key, "invalid", "no known key"),
    "twice": (simulator.changed(lambda body: body * 2), "invalid", "more than once"),
    "a line without its end": (simulator.changed(lambda body: body[:-1]), "invalid", "signature lines"),
    "a whole note": (simulator.changed(lambda body: b"\n" + body), "invalid", "more than signature lines"),
    "nothing": (simulator.status(200), "invalid", "no cosignature"),
    "HTML": (simulator.status(200, b"<html>\n"), "invalid", "no cosignature"),
    "not UTF-8": (simulator.status(200, b"\xff\n"), "invalid", "UTF-8"),
    "a compressed answer": (simulator.status(200, b"x", **{"Content-Encoding": "br"}), "unreachable", "encoding"),
    "a bomb": (simulator.status(200, b"x" * 70_000), "unreachable", "more than 65536 bytes"),
    "a redirect": (simulator.status(307, Location="http://169.254.169.254/"), "refused", "status 307"),
    "no such log": (simulator.status(404), "refused", "does not know this log"),
    "no such key": (simulator.status(403), "refused", "does not trust the log's keys"),
    "too many requests": (simulator.status(429), "refused", "status 429"),
    "an error": (simulator.status(500, b"secret"), "refused", "status 500"),
    "no content": (simulator.status(204), "refused", "status 204"),
    "a conflict of another type": (simulator.status(409, b"3\n"), "refused", "status 409"),
    "a conflict without a size": (simulator.status(409, b"3", "text/x.tlog.size"), "invalid", "not the size"),
    "a conflict without an end": (once_larger_and_smaller, "invalid", "again and again"),
    "a longer log": (simulator.status(409, b"99\n", "text/x.tlog.size; charset=x"), "conflict", "cut or rolled back"),
    "no answer to the proof of nothing": (simulator.status(422), "refused", "status 422"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_an_answer_that_is_no_cosignature_makes_no_quorum_and_is_shown(folder, log, served, wrong):
    (first, *_), (instead, result, words) = served, wrong
    grown(log, 1)
    first.misbehave(instead)
    with asked(folder, log, [first], quorum=1) as made:
        wait_for(lambda: state(made).counts[result] >= 2)  # it is asked again
        assert words in state(made).problem
        assert "secret" not in state(made).problem
        assert state(made).conflict == (result == "conflict")
        assert made.take() == b""
        first.behave()
        assert taken(made, log)
        assert (state(made).problem, state(made).conflict) == ("", False)


def test_a_log_that_was_rolled_back_gets_no_cosignature_and_that_is_said(folder, log, served, tmp_path, caplog):
    grown(log, 10)
    before = copied(folder, tmp_path / "before")
    grown(log, 10)
    with asked(folder, log, served, quorum=3) as made:
        taken(made, log)
    sizes = [one.latest[ORIGIN].size for one in served]
    again = opened(before)  # the copy was made before the witnesses were asked, so it has nothing of theirs
    with asked(before, again, served) as made, caplog.at_level(logging.ERROR):
        wait_for(lambda: all(one.conflict for one in made.status()))
        assert "it knows 23 records of this log, which has 14: the log was cut or rolled back" in state(made).problem
        again.append([line(number) for number in range(100, 130)])
        made.offer(again.checkpoint())
        wait_for(lambda: "it was replaced" in state(made).problem)
        assert all(one.conflict for one in made.status())
        assert made.take() == b""
    assert caplog.text.count(f"the witness {NAME}0 does not cosign") == 1, "said once"
    assert [one.latest[ORIGIN].size for one in served] == sizes
    again.close()


def test_another_log_of_the_same_size_under_the_same_name_is_a_conflict(folder, log, served, tmp_path):
    grown(log, 10)
    with asked(folder, log, served, quorum=3) as made:
        taken(made, log)
    other = opened(tmp_path / "other")
    other.append([line(number, 1) for number in range(10)])
    other.checkpoint()
    assert other.size == log.size
    with asked(tmp_path / "other", other, served) as made:
        wait_for(lambda: all(one.conflict for one in made.status()))
        assert made.take() == b""
    other.close()


def test_the_next_start_refuses_a_log_that_is_behind_what_was_cosigned(folder, log, served, tmp_path):
    grown(log, 10)
    before = copied(folder, tmp_path / "before")
    grown(log, 10)
    with asked(folder, log, served) as made:
        taken(made, log)
    log.close()
    assert opened(folder).witnessed == 23
    (before / WITNESSED).write_bytes((folder / WITNESSED).read_bytes())
    with pytest.raises(
        AuditBrokenError, match="cosigned 23 records of the log, and it has 13 now: it was cut or rolled back"
    ):
        opened(before)
    other = opened(tmp_path / "other")
    other.append([line(number, 1) for number in range(30)])
    other.close()
    (tmp_path / "other" / WITNESSED).write_bytes((folder / WITNESSED).read_bytes())
    with pytest.raises(AuditBrokenError, match="first 23 records of the log are not those that witnesses cosigned"):
        opened(tmp_path / "other")


def test_a_witnessed_checkpoint_that_proves_nothing_stops_no_start_and_is_replaced(folder, log, served):
    grown(log, 10)
    log.close()
    (folder / WITNESSED).write_text("nothing")
    again = opened(folder)
    assert again.witnessed == 0
    with asked(folder, again, served) as made:
        note = taken(made, again)
    assert (folder / WITNESSED).read_bytes() == note
    again.keep_witnessed(checkpoint_of(folder))
    again.close()


def test_an_older_witnessed_checkpoint_takes_the_place_of_no_newer_one(folder, log):
    old = grown(log, 10)
    new = grown(log, 10)
    log.keep_witnessed(new)
    log.keep_witnessed(old)
    assert (folder / WITNESSED).read_bytes() == new


def test_both_keys_of_a_log_sign_while_its_witnesses_learn_the_new_one(folder, served, tmp_path):
    """A witness that knows only the old one cosigns as long as that signs too; then it refuses."""
    first = served[0]
    log = opened(folder, keys=(NEXT_KEY, KEY))
    with asked(folder, log, [first], quorum=1, key=NEXT_KEY) as made:
        assert taken(made, log)
    log.close()
    log = opened(folder, keys=(NEXT_KEY,))
    with asked(folder, log, [first], quorum=1, key=NEXT_KEY) as made:
        wait_for(lambda: "does not trust the log's keys" in state(made).problem)
        first.logs.append((ORIGIN, OTHER.public.public_key))
        assert taken(made, log)
    log.close()


def test_a_missing_tile_is_a_problem_of_ours_and_said(folder, log, served):
    grown(log, 300)
    with asked(folder, log, served[:1], quorum=1) as made:
        taken(made, log)
    grown(log, 5)
    shutil.rmtree(folder / "tile/0/001.p")
    with asked(folder, log, served[:1], quorum=1) as made:
        wait_for(lambda: "there is no proof for it: tile/0/001" in state(made).problem)
        assert made.take() == b""


def test_the_end_waits_for_the_last_cosignatures_but_for_no_witness_that_hangs(folder, log, served):
    slow = Pace(every=1000, patience=1000, first=0.1, longest=1)
    made = asking(folder, served, pace=slow)
    made.offer(log.head)
    taken(made, log)
    head = grown(log, 3)
    made.finish(head, 30)
    assert made.take().startswith(b"%s\n%d\n" % (ORIGIN.encode(), log.size))
    made = asking(folder, served, pace=slow)
    for one in served[:2]:
        one.misbehave(simulator.hanging)
    made.finish(grown(log, 3), 0.2)
    assert made.take() == b""


def test_a_witness_speaks_tls_with_a_certificate_that_the_system_trusts(folder, log, tmp_path, monkeypatch):
    authority = Authority(tmp_path / "ca")
    with simulator.Witness(f"{NAME}0", 10, [str(LOG.public)], tls=authority.issue("localhost")) as one:
        with asked(folder, log, [one], quorum=1) as made:
            wait_for(lambda: "the certificate is not accepted" in state(made).problem)
            assert one.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        with asked(folder, log, [one], quorum=1) as made:
            assert taken(made, log)


def test_threads_end_with_the_log(folder, log, served):
    def asking_now():
        return [one for one in threading.enumerate() if one.name.startswith("witness-")]

    with asked(folder, log, served) as made:
        taken(made, log)
        assert len(asking_now()) == len(served)
    wait_for(lambda: not asking_now())
