"""The entry that stands for a line: the line itself, or its length and hash where it is longer than an entry may be."""

from hashlib import sha256

import pytest

from authz.core.audit.entry import MOST_LINE_BYTES, entry_of, is_line, line_hashes
from authz.core.audit.hashing import MOST_ENTRY_BYTES, leaf_hashes


def line_of(size):
    return b"{" + b"x" * (size - 2) + b"}"


@pytest.mark.parametrize("size", [2, 100, MOST_ENTRY_BYTES])
def test_a_line_is_its_own_entry(size):
    assert entry_of(line_of(size)) == line_of(size)


@pytest.mark.parametrize("size", [MOST_ENTRY_BYTES + 1, MOST_LINE_BYTES])
def test_a_longer_line_has_an_entry_that_says_its_length_and_hash(size):
    entry = entry_of(line_of(size))
    assert entry == f"line of {size} bytes, sha256 {sha256(line_of(size)).hexdigest()}".encode()
    assert not is_line(entry), "no line has the entry of another one"


@pytest.mark.parametrize("wrong", [b"", b"[]", b" {}", b"{}\n", b"{\n}", line_of(MOST_LINE_BYTES + 1)])
def test_what_cannot_be_a_line_has_no_entry(wrong):
    assert not is_line(wrong)
    with pytest.raises(ValueError, match="not a line of a log"):
        entry_of(wrong)
    with pytest.raises(ValueError, match="not a line of a log"):
        line_hashes([b"{}", wrong])


def test_the_hashes_of_lines_are_those_of_their_entries():
    lines = [line_of(10), line_of(MOST_ENTRY_BYTES + 1), b"{}"]
    assert line_hashes(lines) == leaf_hashes([entry_of(one) for one in lines])
    assert line_hashes([]) == b""
