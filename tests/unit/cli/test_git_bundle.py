"""`git:REVISION:PATH` is read only where a checkout of the revision has the same text: else it is refused."""

import os
import subprocess
from dataclasses import replace

import pytest

from authz.cli import git_bundle
from authz.cli.git_bundle import bundle_of, content
from authz.core.documents.yaml_document import MAX_BYTES
from authz.core.errors import ConfigError
from authz.core.policy import load as load_policy
from authz.core.policy.bundle import MOST_INCLUDED_BYTES
from authz.ops.named_files import read_bundle

POLICY = """version: 1
include: [{file: teams/sales.yaml, roles: [sales], dags: ["sales_*"], operations: ["dags:*"]}]
test_files: ["tests/*.yaml", "more/*/b.yaml"]
issuers: [{name: corp, issuer: "https://idp.example.com", audiences: {inbound: [airflow]}, algorithms: [RS256]}]
roles: {sales: {clients: [sales]}}
rules: [{id: read, plane: inbound, roles: [sales], operations: ["pools:read"]}]
"""
TEAM = 'rules:\n  - {id: own, plane: inbound, roles: [sales], operations: ["dags:read"], dags: ["sales_*"]}\n'
FILES = {
    "policy.yaml": POLICY,
    "teams/sales.yaml": TEAM,
    "tests/a.yaml": "tests: []\n",
    "more/x/b.yaml": "tests: []\n",
    "more/README.md": "x\n",
}
CHECK_OUT = "check the revision out, and name the file there in place of git:…"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    git("init", "-q")
    write(tmp_path, FILES)
    commit()
    return tmp_path


def git(*words, data=None):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    return subprocess.run(["git", *identity, *words], check=True, capture_output=True, input=data).stdout.decode()


def commit():
    git("add", "-A")
    git("commit", "-qm", "one", "--allow-empty")


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def refused(path="policy.yaml", revision="HEAD", read=bundle_of):
    """What is wrong, and what to do. That the place is what people wrote is part of it."""
    with pytest.raises(ConfigError) as caught:
        read(revision, path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (f"git:{revision}:{path}", 0)
    return problem.message, problem.hint


def link(folder, name, target):
    """Put a link in place of a file or a folder."""
    if (folder / name).exists():
        (folder / name).rename(folder / "moved")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(target)
    commit()


def test_a_revision_has_the_very_bundle_that_its_checkout_has(folder):
    assert bundle_of("HEAD", "policy.yaml") == read_bundle(folder.joinpath("policy.yaml").relative_to(folder))
    assert len(bundle_of("HEAD", "policy.yaml").parts) == 3


@pytest.mark.parametrize("name", ["policy.yaml", "teams/sales.yaml", "teams", "tests/a.yaml", "tests/z.yaml", "more/x"])
def test_a_symbolic_link_is_refused_wherever_it_stands(folder, name):
    """Its text is a path: a policy can be a path, and a checkout has the file that it leads to."""
    link(folder, name, "rules: []")
    assert refused() == (
        f"`{name}` is a symbolic link there, and the revision does not say what it leads to",
        CHECK_OUT,
    )


def test_a_link_beside_the_policy_that_it_does_not_name_is_not_its_business(folder):
    link(folder, "tests/notes.txt", "nowhere")
    link(folder, "other/b.yaml", "nowhere")
    assert bundle_of("HEAD", "policy.yaml").parts[0].name == "more/x/b.yaml"


def test_a_folder_that_the_path_leaves_again_may_be_no_link(folder):
    assert content("HEAD", "teams/../policy.yaml") == POLICY.encode()
    link(folder, "teams", "elsewhere")
    assert "`teams` is a symbolic link" in refused("teams/../policy.yaml")[0]


@pytest.mark.parametrize("name", ["policy.yaml", "teams/sales.yaml", "teams", "more/x"])
def test_a_submodule_is_refused(folder, name):
    head = git("rev-parse", "HEAD").strip()
    git("rm", "-rq", "--cached", name)
    git("update-index", "--add", "--cacheinfo", f"160000,{head},{name}")
    git("commit", "-qm", "sub")
    assert refused() == (f"`{name}` is a submodule there, and the revision does not say what it leads to", CHECK_OUT)


@pytest.mark.parametrize("name", ["policy.yaml", "teams/sales.yaml", "tests/c.yaml"])
def test_a_folder_is_refused_and_never_its_listing_read(folder, name):
    if (folder / name).exists():
        (folder / name).unlink()
    write(folder, {f"{name}/version: 1": ""})
    commit()
    assert refused() == (f"`{name}` is a folder there", "name a revision, and the path of a file in it")


@pytest.mark.parametrize("name", ["policy.yaml", "teams/sales.yaml", "tests/a.yaml", "more/x/b.yaml"])
@pytest.mark.parametrize(
    ("said", "attribute"),
    [
        ("working-tree-encoding=ASCII//TRANSLIT", "working-tree-encoding"),
        ("filter=lfs", "filter"),
        ("ident", "ident"),
        ("export-subst", "export-subst"),
    ],
)
def test_a_file_that_git_converts_is_refused(folder, name, said, attribute):
    write(folder, {".gitattributes": f"{name} {said}\n"})
    commit()
    (folder / ".gitattributes").unlink()  # those of the revision count, not those of the disk
    assert refused() == (
        f"`{name}` has the attribute `{attribute}`, so a checkout may have another text",
        f"remove the attribute, or {CHECK_OUT}",
    )


def test_attributes_of_the_disk_or_of_other_files_change_nothing(folder):
    write(folder, {"teams/.gitattributes": "*.md filter=lfs\nsales.yaml -filter !ident -working-tree-encoding\n"})
    commit()
    write(folder, {".gitattributes": "* ident\n"})
    git("add", "-A")
    assert len(bundle_of("HEAD", "policy.yaml").parts) == 3


def test_attributes_count_from_a_folder_below_and_in_macros(folder, monkeypatch):
    write(folder, {".gitattributes": "[attr]odd filter=x\nteams/* odd\n"})
    commit()
    monkeypatch.chdir(folder / "tests")
    assert "`../teams/sales.yaml` has the attribute `filter`" in refused("../policy.yaml")[0]
    assert content("HEAD", "a.yaml") == b"tests: []\n"


def test_reading_leaves_the_repository_as_it_is(folder):
    def files():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = files()
    bundle_of("HEAD", "policy.yaml")
    assert files() == before


def test_line_ends_are_not_refused_as_they_mean_the_same(folder):
    write(folder, {".gitattributes": "* text eol=crlf\n"})
    commit()
    for name in FILES:
        (folder / name).unlink()
    git("checkout", "--", *FILES)
    assert b"\r\n" in (folder / "policy.yaml").read_bytes()
    there, here = bundle_of("HEAD", "policy.yaml"), read_bundle(folder / "policy.yaml")
    made, checked_out = (load_policy(replace(one, file="policy.yaml")) for one in (there, here))
    assert made.rules == checked_out.rules
    assert made.roles == checked_out.roles


@pytest.mark.parametrize("revision", ["^HEAD", "HEAD..HEAD", "HEAD^!", "HEAD ", "--all", "nowhere", "HEAD^{tree}"])
def test_what_is_not_one_commit_is_refused(folder, revision):
    message, hint = refused(revision=revision)
    assert message.startswith("git has no such policy: ")
    assert hint == "name a revision, and the path of a file in it"


@pytest.mark.parametrize("path", ["../policy.yaml", "/etc/passwd", "x:policy.yaml", "a\nb", "teams", ".", "-p"])
def test_what_is_no_path_of_a_file_is_refused(folder, path):
    assert refused(path)[1] == "name a revision, and the path of a file in it"


def test_a_folder_may_be_called_like_an_option(folder):
    write(folder, {f"--help/{name}": text for name, text in FILES.items()})
    commit()
    assert [part.name for part in bundle_of("HEAD", "--help/policy.yaml").parts] == [
        "more/x/b.yaml",
        "teams/sales.yaml",
        "tests/a.yaml",
    ]


def test_a_name_that_is_no_text_is_as_on_the_disk(folder):
    odd = os.fsdecode(b"\xff.yaml")
    write(folder, {f"tests/{odd}": "", f"other/{odd}": ""})
    commit()
    there, here = bundle_of("HEAD", "policy.yaml"), read_bundle(folder / "policy.yaml")
    assert there.parts == here.parts
    assert odd in there.parts[-1].name


def test_a_name_that_a_revision_has_twice_is_refused(folder):
    blob = git("rev-parse", "HEAD:policy.yaml").strip()
    other = git("rev-parse", "HEAD:tests/a.yaml").strip()
    tree = git("mktree", data=f"100644 blob {blob}\tpolicy.yaml\n100644 blob {other}\tpolicy.yaml\n".encode())
    made = git("commit-tree", "-m", "twice", tree.strip()).strip()
    assert refused(revision=made)[0] == "the revision has `policy.yaml` twice"


def test_files_have_the_sizes_that_those_on_the_disk_may_have(folder):
    write(folder, {"teams/sales.yaml": "#" * (MOST_INCLUDED_BYTES + 1), "tests/a.yaml": "#" * (MAX_BYTES - 100)})
    commit()
    there, here = bundle_of("HEAD", "policy.yaml"), read_bundle(folder / "policy.yaml")
    assert [(part.name, part.problem, len(part.data)) for part in there.parts] == [
        (part.name, part.problem, len(part.data)) for part in here.parts
    ]
    assert [bool(part.problem) for part in there.parts] == [False, True, True]
    write(folder, {"policy.yaml": "#" * (MAX_BYTES + 1)})
    commit()
    assert refused() == (f"the file has {MAX_BYTES + 1} bytes", "the limit is 16MiB")


def test_a_large_file_is_not_read(folder, monkeypatch):
    write(folder, {"policy.yaml": "#" * (MAX_BYTES + 1)})
    commit()
    asked = []
    run = subprocess.run
    monkeypatch.setattr(
        git_bundle.subprocess, "run", lambda words, **others: asked.append(words[1:3]) or run(words, **others)
    )
    refused()
    assert ["cat-file", "blob"] not in asked
    assert ["cat-file", "--batch-check=%(objectsize)"] in asked


def test_a_revision_whose_files_are_not_all_there_is_refused(folder):
    blob = git("rev-parse", "HEAD:teams/sales.yaml").strip()
    (folder / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert "the repository has not all files of the revision" in refused()[0]
