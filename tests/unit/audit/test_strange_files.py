"""Files that someone puts into a log's folder: each is named, and none makes another one look wrong."""

import pytest

from authz.audit.layout import closed_files, closed_name, others
from authz.audit.verifying import verify
from authz.core.errors import AuditBrokenError
from tests.support.factories.audit_logs import LOG
from tests.support.factories.written_logs import edit, forged, line, opened, written

SIZE = 906
LARGEST = 10**20 - 1


@pytest.fixture
def folder(tmp_path):
    """Files that begin with the records 0, 303 and 604."""
    return written(tmp_path / "audit")


@pytest.mark.parametrize("first", [605, SIZE, SIZE + 1, LARGEST])
@pytest.mark.parametrize("text", [b"", line(7) + b"\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_behind_the_log_is_named(folder, first, text, packed):
    path = folder / (closed_name(first) + ".gz" * packed)
    path.write_bytes(text)
    report = verify(folder, [LOG.public])
    assert list(map(str, report.findings)) == [
        f"{path}: it is not of this log: by its name it begins with record {first}, and the log has no such file"
    ]
    assert report.first == 0, "no record was removed"


def test_a_file_behind_a_log_of_one_file_is_named(tmp_path):
    folder = written(tmp_path / "audit", [10])
    path = folder / closed_name(LARGEST)
    path.touch()
    report = verify(folder, [LOG.public])
    assert [one.path for one in report.findings] == [path]
    assert report.first == 0


def test_an_empty_file_between_others_is_named(folder):
    path = folder / closed_name(100)
    path.touch()
    assert [one.path for one in verify(folder, [LOG.public]).findings] == [path]


def test_a_strange_file_does_not_hide_that_the_tiles_are_not_what_was_signed(folder):
    path = folder / closed_name(LARGEST)
    path.touch()
    edit(closed_files(folder)[0].path, lambda lines: lines.__setitem__(9, line(5)))
    forged(folder)
    report = verify(folder, [LOG.public])
    assert path in [one.path for one in report.findings]
    assert report.lines is None


@pytest.mark.parametrize("first", [SIZE, SIZE + 1, LARGEST])
def test_a_writer_names_a_file_behind_the_log(folder, first):
    path = folder / closed_name(first)
    path.touch()
    with pytest.raises(AuditBrokenError) as caught:
        opened(folder)
    text = f"it is not of this log: by its name it begins with record {first}, and the log has {SIZE}"
    assert str(caught.value) == f"{path}: {text}"
    path.unlink()
    opened(folder).close()


def test_what_looks_like_a_file_of_the_log_and_is_none_is_listed(folder):
    """The last one is there in both forms: the compressed one is read."""
    assert others(folder) == []
    (folder / ".decisions-00000000000000000303.jsonl.gz.0123456789abcdef.draft").touch()
    (folder / "spool-position").touch()
    assert others(folder) == []
    names = ["DECISIONS.JSONL", "decisions-1.jsonl", "decisions.jsonl.1", "decisions.jsonl.gz", "evil.jsonl"]
    for name in [*names, closed_name(303) + ".gz"]:
        (folder / name).touch()
    assert others(folder) == sorted([*names, closed_name(303)])
