"""The sample for a log shipper: every line reaches another machine in order, byte for byte, and checkpoints do too."""

import pytest

from authz.audit.signing import read_signed
from authz.audit.verifying import Older, verify
from authz.core.audit.entry import line_hashes
from authz.core.audit.frontier import Frontier
from tests.support.factories.audit_logs import LOG
from tests.support.factories.written_logs import lines_of, opened
from tests.support.rigs.shipper import Receiver, Shipper
from tests.support.waiting import wait_for

LONG = 65_535  # bytes of the longest entry
LONGEST = 1 << 20  # an identity entry with very many groups


@pytest.fixture
def receiver(tmp_path):
    made = Receiver(tmp_path / "certificates")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def shipper(receiver, tmp_path):
    made = Shipper(tmp_path / "audit", receiver, tmp_path / "shipper")
    yield made
    made.stop()


def record(number, size=0):
    """A line, of so many bytes if it is to be a long one, and with characters that programs like to change."""
    head = f'{{"v":1,"type":"decision","id":"{number:024x}","text":"  ü\x7f%s\\n\\u0000'.encode()
    return head + b"x" * (size - len(head) - 2) + b'"}'


def batches(count, each=100):
    for batch in range(count):
        yield [record(batch * each + number) for number in range(each)]


def test_every_line_arrives_whole_and_in_order(receiver, shipper, tmp_path):
    """The log is closed and compressed four times, the receiver is away, and the shipper is killed meanwhile."""
    folder = tmp_path / "audit"
    log, lines = opened(folder), batches(20)

    def write(some):
        for _ in range(some):
            log.append(next(lines))

    def close():
        """Close the file and compress it; the next lines are in another one."""
        wait_for(shipper.has_read)
        write(1)
        log.rotate()
        assert log.compress() is not None
        write(1)

    shipper.start()
    log.append([record(0, LONG), record(1, LONGEST)])
    close()
    close()
    wait_for(lambda: record(1, LONGEST) in receiver.lines())
    receiver.stop()
    write(3)
    close()
    close()
    wait_for(shipper.has_read)
    shipper.kill()
    write(3)
    shipper.start()
    wait_for(shipper.has_read)
    receiver.silent = 1
    receiver.start()
    write(3)
    log.close()
    wait_for(lambda: {*lines_of(folder)} == {*receiver.lines()})
    wait_for(lambda: receiver.stored["/checkpoints"].endswith(log.head))
    shipper.stop()

    found = receiver.lines()
    assert list(dict.fromkeys(found)) == lines_of(folder)
    assert receiver.silent == 0
    assert 0 < len(found) - len({*found}) <= 1000, "only the batch that was stored and not answered comes twice"
    kept = tmp_path / "kept.checkpoint"
    kept.write_bytes(log.head)
    head, _ = read_signed(kept.read_bytes(), (LOG.public,))
    tree = Frontier()
    tree.append(line_hashes(list(dict.fromkeys(found))))
    assert (head.size, head.root) == (tree.size, tree.root()), "the lines that arrived are what was signed"
    assert verify(folder, (LOG.public,), since=[Older(path=kept, head=head)]).findings == []
