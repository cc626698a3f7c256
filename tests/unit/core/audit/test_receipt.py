import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import receipt
from authz.core.audit.receipt import Receipt
from authz.core.audit.texts import encoded
from authz.core.errors import AuditBrokenError
from tests.support.examples import examples
from tests.support.factories.audit_logs import ALONE, BOTH, LOG, WITNESSES, Key, StoredLog

ENTRIES = [b'{"v":1,"type":"decision","id":"%08d"}' % number for number in range(600)]
STORED = StoredLog(ENTRIES)
HASH = encoded(bytes(32))
BEGIN = "c2sp.org/tlog-proof@v1\n"


def refused(data, entry, trust=ALONE, match=None):
    with pytest.raises(AuditBrokenError, match=match):
        receipt.verify(data, entry, trust)


def test_a_receipt_is_the_file_of_the_specification():
    data = STORED.receipt(5, 300, LOG, extra=b"more")
    head, checkpoint = data.split(b"\n\n", 1)
    first, extra, index, *path = head.decode().split("\n")
    assert (first, extra, index) == ("c2sp.org/tlog-proof@v1", "extra bW9yZQ==", "index 5")
    assert path == [encoded(one) for one in STORED.inclusion(5, 300)]
    assert checkpoint == STORED.checkpoint(300, LOG)
    assert receipt.parse(data) == Receipt(5, STORED.inclusion(5, 300), checkpoint, b"more")


@examples(60)
@given(st.data())
def test_every_receipt_proves_its_entry_and_no_other(data):
    size = data.draw(st.integers(1, len(ENTRIES)))
    index = data.draw(st.integers(0, size - 1))
    made = STORED.receipt(index, size, LOG, *WITNESSES)
    proved = receipt.verify(made, ENTRIES[index], BOTH)
    assert (proved.index, proved.head.checkpoint.size) == (index, size)
    assert set(proved.head.cosigned) == {key.public for key in WITNESSES}
    other = data.draw(st.integers(0, len(ENTRIES) - 1))
    if other != index:
        refused(made, ENTRIES[other], BOTH, match="from the entry to the root")
    refused(made, ENTRIES[index] + b"\n", BOTH)


def test_the_receipt_of_the_only_entry_has_no_hashes():
    made = STORED.receipt(0, 1, LOG)
    assert made.startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + LOG.public.name.encode())
    assert receipt.verify(made, ENTRIES[0], ALONE).index == 0


def test_no_flipped_bit_passes():
    """Of the receipt, with every witness needed, and of the entry. Every fifth bit: each place in a byte is tried."""
    made = STORED.receipt(299, 300, LOG, *WITNESSES[:2])
    for bit in range(0, len(made) * 8, 5):
        changed = bytearray(made)
        changed[bit // 8] ^= 1 << bit % 8
        refused(bytes(changed), ENTRIES[299], BOTH)
    for bit in range(len(ENTRIES[299]) * 8):
        changed = bytearray(ENTRIES[299])
        changed[bit // 8] ^= 1 << bit % 8
        refused(made, bytes(changed), BOTH)


def test_no_cut_receipt_passes():
    made = STORED.receipt(299, 300, LOG)
    for at in range(len(made)):
        refused(made[:at], ENTRIES[299])
        refused(made[:at] + made[at + 1 :], ENTRIES[299])


def test_another_size_index_or_checkpoint_does_not_pass():
    """The size is signed: a proof for another size fails, also where the hashes alone would do (test_verifying)."""
    made = receipt.parse(STORED.receipt(0, 5, LOG))
    for size in range(1, 64):
        changed = Receipt(0, made.proof, STORED.checkpoint(size, LOG))
        if size != 5:
            refused(receipt.write(changed), ENTRIES[0])
    signed = made.checkpoint.replace(b"\n5\n", b"\n8\n")
    refused(receipt.write(Receipt(0, made.proof, signed)), ENTRIES[0], match="signature")
    for index in range(1, 9):
        refused(receipt.write(Receipt(index, made.proof, made.checkpoint)), ENTRIES[0])


def test_a_receipt_of_another_log_or_with_too_few_witnesses_is_refused():
    refused(STORED.receipt(7, 300, Key("other.example/audit", 1)), ENTRIES[7], match="no known key")
    refused(STORED.receipt(7, 300, LOG, WITNESSES[0]), ENTRIES[7], BOTH, match="1 witnesses")


def test_the_extra_data_is_no_part_of_what_is_proved():
    """A limit, as the specification says: change it, and the receipt still proves the entry."""
    one, other = (STORED.receipt(7, 300, LOG, extra=extra) for extra in (b"one", b"other"))
    assert receipt.verify(one, ENTRIES[7], ALONE) == receipt.verify(other, ENTRIES[7], ALONE)


def test_an_entry_that_is_too_long_for_a_log_is_in_none():
    refused(STORED.receipt(7, 300, LOG), b"x" * 65_536, match="65535 bytes")
    refused(STORED.receipt(7, 300, LOG), b"x" * 65_535, match="from the entry to the root")


@pytest.mark.parametrize(
    "head",
    [
        "",
        "index 5\n\n",
        BEGIN,
        f"{BEGIN}\n",
        f"{BEGIN}index 5\n",
        f"{BEGIN}{HASH}\n\n",
        f"c2sp.org/tlog-proof@v2\nindex 5\n{HASH}\n\n",
        f"{BEGIN.strip()} \nindex 5\n{HASH}\n\n",
        f" {BEGIN}index 5\n{HASH}\n\n",
        f"\n{BEGIN}index 5\n{HASH}\n\n",
        f"{BEGIN}index 5\r\n{HASH}\r\n\r\n",
        f"{BEGIN}index\n{HASH}\n\n",
        f"{BEGIN}index  5\n{HASH}\n\n",
        f"{BEGIN}index 05\n{HASH}\n\n",
        f"{BEGIN}index -5\n{HASH}\n\n",
        f"{BEGIN}index 5 \n{HASH}\n\n",
        f"{BEGIN}index {1 << 63}\n{HASH}\n\n",
        f"{BEGIN}Index 5\n{HASH}\n\n",
        f"{BEGIN}index 5\nindex 5\n{HASH}\n\n",
        f"{BEGIN}index 5\nextra AAAA\n{HASH}\n\n",
        f"{BEGIN}extra\nindex 5\n{HASH}\n\n",
        f"{BEGIN}extra \nindex 5\n{HASH}\n\n",
        f"{BEGIN}extra AAAA\nextra AAAA\nindex 5\n{HASH}\n\n",
        f"{BEGIN}extra AAAB=\nindex 5\n{HASH}\n\n",
        f"{BEGIN}extra {encoded(bytes(65_536))}\nindex 5\n{HASH}\n\n",
        f"{BEGIN}extra AAAA\n\n",
        f"{BEGIN}extra AAAA\n",
        f"{BEGIN}index 5\n{HASH[:-2]}B=\n\n",
        f"{BEGIN}index 5\n{encoded(bytes(31))}\n\n",
        f"{BEGIN}index 5\n{encoded(bytes(64))}\n\n",
        f"{BEGIN}index 5\n{HASH} \n\n",
        f"{BEGIN}index 5\n" + f"{HASH}\n" * 64 + "\n",
        f"{BEGIN}índex 5\n{HASH}\n\n",
    ],
)
def test_what_is_not_exactly_a_receipt_is_refused(head):
    with pytest.raises(AuditBrokenError):
        receipt.parse(head.encode() + STORED.checkpoint(300, LOG))


def test_a_receipt_has_a_largest_size():
    made = STORED.receipt(7, 300, LOG, extra=bytes(65_535))
    assert len(receipt.parse(made).extra) == 65_535
    assert len(receipt.parse(f"{BEGIN}index 5\n{HASH}\n\n".encode()).proof) == 1
    assert receipt.parse(made + bytes(655_358 - len(made))).index == 7
    with pytest.raises(AuditBrokenError, match="more than 655358 bytes"):
        receipt.parse(made + bytes(655_359 - len(made)))


def test_a_receipt_has_what_a_log_of_any_size_needs():
    longest = Receipt((1 << 63) - 1, (bytes(32),) * 63, STORED.checkpoint(300, LOG), b"x")
    assert receipt.parse(receipt.write(longest)) == longest
    assert receipt.parse(STORED.receipt(7, 300, LOG)).extra == b""


@pytest.mark.parametrize(
    "wrong",
    [
        Receipt(-1, (), b""),
        Receipt(1 << 63, (), b""),
        Receipt(0, (bytes(31),), b""),
        Receipt(0, (bytes(32),) * 64, b""),
        Receipt(0, (), b"", bytes(65_536)),
    ],
)
def test_only_what_can_be_read_back_is_written(wrong):
    with pytest.raises(AuditBrokenError):
        receipt.write(wrong)
