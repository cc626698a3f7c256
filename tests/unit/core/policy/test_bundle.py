"""A policy and the files that it names are one value: one revision, one generation, and no file outside the folder."""

import hashlib
import subprocess

import pytest

from authz.core.documents.wording import Mistake
from authz.core.errors import PolicyError
from authz.core.policy import Bundle, load
from authz.core.policy.bundle import MOST_FILES, Part, matches, named, parse_name, unmatched, unpacked
from tests.support.factories.policies import text

POLICY = text(top='version: 1\ntest_files: ["tests/*.yaml"]').encode()
A, B = Part("tests/a.yaml", b"tests: []\n"), Part("tests/b.yaml", b"callers: {}\n")


def refused(bundle):
    with pytest.raises(PolicyError) as caught:
        load(bundle)
    return [str(problem) for problem in caught.value.problems]


def test_the_revision_of_one_file_is_the_digest_of_its_bytes():
    assert Bundle(POLICY, "p.yaml").revision == hashlib.sha256(POLICY).hexdigest()


def test_the_revision_of_several_files_is_what_a_shell_line_computes(tmp_path):
    """As `docs/policy.md` says: in the policy's folder, `sha256sum policy.yaml tests/*.yaml | sha256sum`."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "policy.yaml").write_bytes(POLICY)
    for part in (A, B):
        (tmp_path / part.name).write_bytes(part.data)
    line = "sha256sum policy.yaml tests/*.yaml | sha256sum"
    printed = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Bundle(POLICY, "/etc/authz/policy.yaml", (A, B)).revision == printed.split()[0]


@pytest.mark.parametrize(
    "other",
    [
        Bundle(POLICY, "policy.yaml", (A,)),
        Bundle(POLICY, "policy.yaml", (B, A)),
        Bundle(POLICY, "policy.yaml", (A, Part(B.name, A.data))),
        Bundle(POLICY, "policy.yaml", (A, Part("tests/c.yaml", B.data))),
        Bundle(POLICY, "policy.yaml", (A, Part(B.name, b"", "Permission denied"))),
        Bundle(POLICY + b"\n", "policy.yaml", (A, B)),
        Bundle(POLICY, "other.yaml", (A, B)),
    ],
)
def test_another_file_name_order_or_content_is_another_revision(other):
    assert other.revision != Bundle(POLICY, "policy.yaml", (A, B)).revision


def test_the_bytes_of_a_bundle_are_those_of_all_files():
    assert Bundle(POLICY, "p", (A, B)).size == len(POLICY) + len(A.data) + len(B.data)


@pytest.mark.parametrize("parts", [(), (A,), (A, B), (Part("ä b.yaml", b"\n\n"), Part("c.yaml", b""))])
def test_what_is_packed_is_unpacked_as_it_was(parts):
    bundle = Bundle(POLICY, "policy.yaml", parts)
    assert unpacked(bundle.packed(), "policy.yaml", several=bool(parts)) == bundle


def test_one_file_is_packed_as_its_own_bytes():
    assert Bundle(POLICY, "p").packed() == POLICY


@pytest.mark.parametrize(
    "data", [b"", b"x", b"[]\n", b"[[1]]\nx", b'[["", "a"]]\nx', b'[["", 2]]\nx', b"[" * 100_000 + b"\n", b"{}\nx"]
)
def test_what_is_no_packed_bundle_is_refused(data):
    with pytest.raises(ValueError, match="divided into its files"):
        unpacked(data, "p", several=True)


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (POLICY, ("tests/*.yaml",)),
        (b"version: 1\nissuers: []\ntest_files: [a.yaml]\n", ()),
        (b'{"version": 1, "test_files": ["a.yaml", "b.yml", "a.yaml"], "rules": []}', ("a.yaml", "b.yml")),
        (b"test_files: [a.yaml]\ntest_files: [b.yaml]\n", ("a.yaml",)),
        (b"test_files: [a.yaml, ../b.yaml, /c.yaml, 7, {d: e}]\nrules: [\n", ("a.yaml",)),
        (b"test_files: a.yaml\n", ()),
        (b"test_files: [a.yaml\n", ()),
        (b"[test_files]\n", ()),
        (b"", ()),
        (b"\xff", ()),
        (b"test_files: [&x a.yaml, !t b.yaml]\n", ("a.yaml", "b.yaml")),
        (b"rules: []\n", ()),
    ],
)
def test_the_names_are_read_from_the_top_of_the_file_whatever_stands_below(data, names):
    assert named(data) == names


@pytest.mark.parametrize("name", ["a.yaml", "tests/a.yml", "t*s/*.yaml", "teams/*/tests.yaml", ".hidden/a.yaml"])
def test_names_in_the_folder_and_below_it(name):
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["/a.yaml", "../a.yaml", "a/../b.yaml", "a//b.yaml", "./a.yaml", "a.json", "a\\b.yml", "a\n.yaml", "**/a.yaml"],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_stand_for_no_one_file(name):
    with pytest.raises(Mistake):
        parse_name(name)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("a.yaml", "a.yaml", True),
        ("*.yaml", "a.yaml", True),
        ("*.yaml", ".a.yaml", False),
        (".*.yaml", ".a.yaml", True),
        ("tests/*.yaml", "tests/a.yaml", True),
        ("tests/*.yaml", "tests/b/a.yaml", False),
        ("*/a.yaml", "tests/a.yaml", True),
        ("*/a.yaml", "..data/a.yaml", False),
        ("tests/*.yaml", "other/a.yaml", False),
    ],
)
def test_a_star_stands_for_a_part_of_one_name_that_is_not_hidden(pattern, name, fits):
    assert matches(pattern, name) is fits


def test_patterns_without_a_file():
    assert list(unmatched(["tests/*.yaml", "b.yaml", "tests/a.yaml"], [A])) == [1]


def test_a_bundle_whose_files_are_there_loads():
    assert load(Bundle(POLICY, "policy.yaml", (A, B))).revision == Bundle(POLICY, "policy.yaml", (A, B)).revision


def test_a_file_that_cannot_be_read_is_a_problem():
    broken = Part("tests/c.yaml", b"", "Permission denied")
    assert refused(Bundle(POLICY, "etc/policy.yaml", (A, broken))) == [
        "etc/tests/c.yaml: cannot be read: Permission denied"
    ]


def test_a_pattern_that_stands_for_no_file_is_a_problem():
    [problem] = refused(Bundle(POLICY, "policy.yaml"))
    assert problem.startswith("policy.yaml:2:14: `tests/*.yaml` names no file")


def test_a_file_whose_name_others_would_read_differently_is_a_problem():
    [problem] = refused(Bundle(POLICY, "policy.yaml", (Part("tests/a\nb.yaml", b"tests: []\n"),)))
    assert "a file with this name cannot belong to a policy" in problem


def test_too_many_files_are_a_problem():
    many = tuple(Part(f"tests/{number:05}.yaml", A.data) for number in range(MOST_FILES + 1))
    assert load(Bundle(POLICY, "policy.yaml", many[:-1]))
    assert refused(Bundle(POLICY, "policy.yaml", many)) == [
        f"policy.yaml:2:13: these are more than {MOST_FILES} files (name fewer, larger ones)"
    ]
