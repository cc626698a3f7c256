"""The tree against known hashes, and against RFC 6962 §2.1 written down again, as its text defines it."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import hashing, proving
from authz.core.audit.frontier import Frontier
from authz.core.audit.tiles import LARGEST_SIZE, TILE_BYTES, WIDTH, Tile, Tree, partial_tiles
from authz.core.errors import AuditBrokenError
from tests.support.examples import examples
from tests.support.factories.audit_logs import StoredLog

# The entries that implementations of Certificate Transparency share for their tests, and the root after each.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def split(count):
    return max(1 << bit for bit in range(count.bit_length()) if 1 << bit < count)


def mth(entries):
    """MTH of RFC 6962 §2.1."""
    if len(entries) < 2:
        return sha(b"\0", entries[0]) if entries else sha()
    k = split(len(entries))
    return sha(b"\1", mth(entries[:k]), mth(entries[k:]))


def path(m, entries):
    """PATH of RFC 6962 §2.1.1."""
    if len(entries) == 1:
        return ()
    k = split(len(entries))
    if m < k:
        return (*path(m, entries[:k]), mth(entries[k:]))
    return (*path(m - k, entries[k:]), mth(entries[:k]))


def subproof(m, entries, known=True):  # noqa: FBT002 as in the RFC
    """SUBPROOF of RFC 6962 §2.1.2."""
    if m == len(entries):
        return () if known else (mth(entries),)
    k = split(len(entries))
    if m <= k:
        return (*subproof(m, entries[:k], known), mth(entries[k:]))
    return (*subproof(m - k, entries[k:], known=False), mth(entries[:k]))


def numbered(count):
    return [b"entry %d" % number for number in range(count)]


def test_the_roots_are_those_of_certificate_transparency():
    log = StoredLog()
    assert [log.root(0).hex(), log.frontier.root().hex()] == [ROOTS[0]] * 2
    for size, entry in enumerate(ENTRIES, 1):
        log.append([entry])
        assert log.frontier.root().hex() == ROOTS[size]
    assert [log.root(size).hex() for size in range(9)] == ROOTS


def test_every_proof_of_small_logs_is_what_the_rfc_defines():
    entries = numbered(33)
    log = StoredLog(entries)
    for size in range(34):
        assert log.root(size) == mth(entries[:size])
        for index in range(size):
            assert log.inclusion(index, size) == path(index, entries[:size])
        for first in range(1, size + 1):
            assert log.consistency(first, size) == subproof(first, entries[:size])
        assert log.consistency(0, size) == ()


@examples(60)
@given(st.data())
def test_every_proof_of_logs_with_several_levels_of_tiles_is_what_the_rfc_defines(data):
    entries = numbered(data.draw(st.sampled_from([255, 256, 257, 300, 511, 512, 513, 700, 1025])))
    log = StoredLog(entries)
    size = data.draw(st.integers(1, len(entries)))
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert log.root(size) == mth(entries[:size])
    assert log.inclusion(index, size) == path(index, entries[:size])
    assert log.consistency(first, size) == subproof(first, entries[:size])


def test_three_levels_of_tiles_hold_together():
    """65,536 entries fill a tile of level 1: above it is one of level 2."""
    log = StoredLog(numbered(65_536 + 257))
    assert [len(level) // 32 for level in log.levels] == [65_793, 257, 1]
    assert log.levels[2] == log.root(65_536)
    assert log.root(65_793) == log.frontier.root()
    assert Frontier.stored(65_793, log.read).root() == log.frontier.root()
    log.reads.clear()
    assert len(log.inclusion(65_536, 65_793)) == 10
    assert sorted(log.reads) == [(0, 256, 256), (0, 257, 1), (2, 0, 1)]


@examples(50)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 6))
def test_the_root_does_not_depend_on_how_many_entries_come_at_once_or_on_restarts(counts, restart):
    entries = iter(numbered(sum(counts)))
    log = StoredLog()
    for at, count in enumerate(counts):
        if at == restart:
            log.frontier = Frontier.stored(log.frontier.size, log.read)
        log.append([next(entries) for _ in range(count)])
    whole = StoredLog(numbered(sum(counts)))
    assert log.frontier.size == sum(counts)
    assert log.frontier.root() == whole.frontier.root() == whole.root(sum(counts))
    assert log.levels == whole.levels
    assert log.root(sum(counts)) == log.frontier.root()


def test_an_append_that_fails_changes_nothing():
    log = StoredLog(numbered(5))
    before = log.frontier.root()
    for wrong in (b"x", b"x" * 33, b"x" * 63):
        with pytest.raises(ValueError, match="hashes of 32 bytes"):
            log.frontier.append(wrong)
    full = Frontier()
    full.size = LARGEST_SIZE - 1
    full.append(b"x" * 32)
    assert full.size == LARGEST_SIZE
    with pytest.raises(ValueError, match="too many"):
        full.append(b"x" * 32)
    assert (log.frontier.size, log.frontier.root()) == (5, before)
    assert log.frontier.append(b"") == ()


def test_an_entry_has_at_most_65535_bytes():
    assert hashing.leaf_hash(b"x" * 65_535) == sha(b"\0", b"x" * 65_535)
    for entries in ([b"x" * 65_536], [b"", b"x" * 65_536]):
        with pytest.raises(ValueError, match="65535 bytes"):
            hashing.leaf_hashes(entries)
    assert hashing.leaf_hashes([]) == b""


def test_tiles_have_the_paths_of_the_specification():
    assert Tile(0, 1_234_067).path == "tile/0/x001/x234/067"
    assert Tile(0, 1_234_067, 112).path == "tile/0/x001/x234/067.p/112"
    assert [Tile(3, index).path for index in (0, 999, 1000, 1_000_000)] == [
        "tile/3/000",
        "tile/3/999",
        "tile/3/x001/000",
        "tile/3/x001/x000/000",
    ]
    assert TILE_BYTES == 8192


@pytest.mark.parametrize(
    ("size", "partial"),
    [
        (0, []),
        (1, [Tile(0, 0, 1)]),
        (256, [Tile(1, 0, 1)]),
        (70_000, [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]),
        (65_536, [Tile(2, 0, 1)]),
    ],
)
def test_a_tree_has_the_partial_tiles_of_the_specification(size, partial):
    assert list(partial_tiles(size)) == partial


@examples(100)
@given(st.integers(1, LARGEST_SIZE), st.data())
def test_only_tiles_of_the_tree_are_read_and_each_once(size, data):
    """Whatever the size: a full tile, or the one partial tile that the checkpoint of this size needs."""
    read = []

    def zeros(level, index, width):
        read.append(Tile(level, index, width))
        return bytes(width * 32)

    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    proving.inclusion(index, size, zeros)
    proving.consistency(first, size, zeros)
    partial = set(partial_tiles(size))
    for tile in read:
        assert tile in partial or (tile.width == WIDTH and (tile.index + 1) << 8 * (tile.level + 1) <= size)
    for ask in (lambda: proving.inclusion(index, size, zeros), lambda: proving.consistency(first, size, zeros)):
        read.clear()
        ask()
        assert len(read) == len(set(read)) <= 16
    assert len(Frontier.stored(size, zeros).root()) == 32


@pytest.mark.parametrize(
    "ask",
    [
        lambda read: proving.inclusion(3, 3, read),
        lambda read: proving.inclusion(-1, 3, read),
        lambda read: proving.inclusion(0, 0, read),
        lambda read: proving.consistency(4, 3, read),
        lambda read: proving.consistency(-1, 3, read),
        lambda read: proving.root(-1, read),
        lambda read: proving.root(1 << 63, read),
        lambda read: Frontier.stored(-1, read),
        lambda read: Tree(1 << 63, read),
    ],
)
def test_what_no_log_has_is_the_mistake_of_the_caller(ask):
    log = StoredLog(numbered(3))
    with pytest.raises(ValueError, match="log"):
        ask(log.read)


def test_the_largest_log_has_proofs():
    def zeros(_level, _index, width):
        return bytes(width * 32)

    assert len(proving.inclusion(LARGEST_SIZE - 1, LARGEST_SIZE, zeros)) == 62
    assert len(proving.inclusion(0, LARGEST_SIZE, zeros)) == 63
    assert len(proving.consistency(LARGEST_SIZE - 1, LARGEST_SIZE, zeros)) == 63


@pytest.mark.parametrize("got", [b"", bytes(31), bytes(33 * 32), bytes(34 * 32 + 1)])
def test_a_tile_of_another_length_is_refused(got):
    with pytest.raises(AuditBrokenError, match=r"tile/0/001.p/34 does not have 34 hashes"):
        proving.inclusion(280, 290, lambda _level, index, width: bytes(width * 32) if index == 0 else got)
