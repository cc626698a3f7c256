"""The files that a policy names are read with it: all that the patterns stand for, and nothing else in silence."""

import os

import pytest

from authz.core.policy.bundle import MOST_FILES
from authz.ops import named_files
from authz.ops.named_files import NamedFiles, read_bundle
from tests.support.factories.policies import text


def policy(*names):
    listed = ", ".join(f'"{name}"' for name in names)
    return text(top=f"version: 1\ntest_files: [{listed}]")


@pytest.fixture
def folder(tmp_path):
    for name in ("a.yaml", "b.yaml", "c.yml", ".hidden.yaml", "notes.txt"):
        path = tmp_path / "tests" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {name}\n")
    return tmp_path


def found(folder, *names):
    (folder / "policy.yaml").write_text(policy(*names))
    return {part.name: part.data.decode() or part.problem for part in read_bundle(folder / "policy.yaml").parts}


def test_without_names_there_is_one_file(folder):
    (folder / "policy.yaml").write_text(text())
    bundle = read_bundle(folder / "policy.yaml")
    assert (bundle.file, bundle.parts) == (str(folder / "policy.yaml"), ())


def test_a_pattern_stands_for_all_files_that_match_but_no_hidden_ones(folder):
    assert found(folder, "tests/*.yaml") == {"tests/a.yaml": "# a.yaml\n", "tests/b.yaml": "# b.yaml\n"}
    assert list(found(folder, "tests/*.yml", "tests/b.yaml", "tests/*.yaml")) == [
        "tests/a.yaml", "tests/b.yaml", "tests/c.yml",
    ]  # fmt: skip


def test_stars_in_folders(folder):
    (folder / "teams" / "x").mkdir(parents=True)
    (folder / "teams" / "x" / "tests.yaml").write_text("# x\n")
    (folder / "teams" / "y").mkdir()
    (folder / "teams" / "README.md").write_text("not a folder")
    assert found(folder, "teams/*/tests.yaml") == {"teams/x/tests.yaml": "# x\n"}
    assert found(folder, "teams/*/*.yaml") == {"teams/x/tests.yaml": "# x\n"}


def test_the_policy_file_is_not_one_of_its_own_test_files(folder):
    (folder / "more.yaml").write_text("# more\n")
    assert found(folder, "*.yaml") == {"more.yaml": "# more\n"}


def test_a_name_without_a_file_is_told(folder):
    assert found(folder, "tests/x.yaml") == {"tests/x.yaml": "No such file or directory"}
    assert found(folder, "nothing/*.yaml") == {}


def test_what_is_no_file_is_told_and_waits_for_nobody(folder):
    os.mkfifo(folder / "tests" / "pipe.yaml")
    (folder / "tests" / "folder.yaml").mkdir()
    seen = found(folder, "tests/*.yaml")
    assert seen["tests/pipe.yaml"] == "it is a FIFO, not a regular file"
    assert seen["tests/folder.yaml"] == "it is a folder, not a regular file"


def test_links_are_followed(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "z").write_text("# z\n")
    (folder / "tests" / "z.yaml").symlink_to("../elsewhere/z")
    (folder / "tests" / "nowhere.yaml").symlink_to("missing")
    seen = found(folder, "tests/*.yaml")
    assert (seen["tests/z.yaml"], seen["tests/nowhere.yaml"]) == ("# z\n", "No such file or directory")


def test_the_bytes_of_all_files_are_bounded(folder, monkeypatch):
    size = len(policy("tests/*.yaml"))
    monkeypatch.setattr(named_files, "MAX_BYTES", size + len("# a.yaml\n") + 1)
    monkeypatch.setattr(named_files, "TOO_LARGE", "too large together")
    assert found(folder, "tests/*.yaml") == {"tests/a.yaml": "# a.yaml\n", "tests/b.yaml": "too large together"}


def test_the_number_of_files_is_bounded(folder):
    for number in range(MOST_FILES + 10):
        (folder / "tests" / f"n{number}.yaml").touch()
    assert len(found(folder, "tests/n*.yaml")) == MOST_FILES + 1


def test_a_policy_file_that_cannot_be_read_is_an_error(folder):
    with pytest.raises(OSError, match="No such file"):
        read_bundle(folder / "policy.yaml")


def test_the_patterns_are_read_again_only_when_the_policy_file_changes(folder, monkeypatch):
    read = []
    monkeypatch.setattr(named_files, "named", lambda data: read.append(data) or ("tests/a.yaml",))
    files = NamedFiles(folder / "policy.yaml")
    for data in (b"one", b"one", b"two"):
        assert [part.name for part in files.read(data)] == ["tests/a.yaml"]
    assert read == [b"one", b"two"]


def test_marks_differ_when_a_file_is_written_added_or_removed(folder):
    files = NamedFiles(folder / "policy.yaml")
    files.read(policy("tests/*.yaml").encode())
    seen = [files.marks()]
    for change in (
        lambda: (folder / "tests" / "a.yaml").write_text("# longer than before\n"),
        (folder / "tests" / "d.yaml").touch,
        (folder / "tests" / "d.yaml").unlink,
        lambda: (folder / "tests").rename(folder / "away"),
    ):
        change()
        assert files.marks() not in seen
        seen.append(files.marks())
    files.read(text().encode())
    assert files.marks() == ()


def test_files_of_teams_are_read_and_none_takes_the_room_of_another_file(folder, monkeypatch):
    monkeypatch.setattr(named_files, "MAX_BYTES", len(policy()) + 300)
    monkeypatch.setattr(named_files, "MOST_INCLUDED_BYTES", 400)
    entries = ", ".join(f"{{file: teams/{name}.yaml, roles: [viewer], dags: [a]}}" for name in ("a", "b", "x"))
    (folder / "policy.yaml").write_text(text(top=f"version: 1\ninclude: [{entries}]\ntest_files: [tests/b.yaml]"))
    (folder / "teams").mkdir()
    (folder / "teams" / "a.yaml").write_text("#" * 401)
    (folder / "teams" / "b.yaml").write_text("#" * 400)
    parts = {part.name: (len(part.data), part.problem) for part in read_bundle(folder / "policy.yaml").parts}
    assert parts == {
        "teams/a.yaml": (0, "it has more than 256KiB"),
        "teams/b.yaml": (400, ""),
        "teams/x.yaml": (0, "No such file or directory"),
        "tests/b.yaml": (9, ""),
    }
