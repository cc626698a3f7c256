import errno
import os
import stat
from pathlib import Path

import pytest

from authz.core.errors import ConfigError
from authz.envoy_config.files import make_cookie_secret, warnings, write_sds
from tests.support.rendered_envoy import destination, egress, plan
from tests.unit.settings.test_login import listener, login


def test_files_are_written_whole_and_only_when_they_change(tmp_path):
    path = tmp_path / "sds" / "a.yaml"
    write_sds({str(path): "one"})
    before = path.stat()
    write_sds({str(path): "one"})
    assert path.stat().st_ino == before.st_ino
    write_sds({str(path): "two"})
    assert path.read_text() == "two"
    assert path.stat().st_ino != before.st_ino, "a rename, which Envoy sees"
    assert [item.name for item in path.parent.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize("plant", ["symlink_to", "hardlink_to"])
def test_a_link_that_was_planted_beside_a_file_is_not_written_through(tmp_path, plant):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "sds" / "a.yaml"
    path.parent.mkdir()
    getattr(path.with_name(f".a.yaml.{'a' * 16}.draft"), plant)(victim)
    write_sds({str(path): "one"})
    assert victim.read_text() == "precious"
    assert (path.read_text(), path.is_symlink()) == ("one", False)


def test_a_file_that_cannot_take_its_place_leaves_nothing_beside(tmp_path, monkeypatch):
    def refuse(_path, _target):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ConfigError, match="cannot be written: Read-only"):
        write_sds({str(tmp_path / "a.yaml"): "one"})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "sds").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be written: .*envoy\.sds"):
        write_sds({str(tmp_path / "sds" / "a.yaml"): "one"})


def test_a_cookie_secret_is_made_once_and_for_us_alone(tmp_path):
    path = tmp_path / "cookie.secret"
    old = os.umask(0)
    try:
        make_cookie_secret(str(path))
    finally:
        os.umask(old)
    made = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(made) >= 43
    assert made == made.strip()
    make_cookie_secret(str(path))
    assert path.read_text() == made
    assert [item.name for item in tmp_path.iterdir()] == ["cookie.secret"]
    with pytest.raises(ConfigError, match="the cookie secret cannot be made: No such file"):
        make_cookie_secret(str(tmp_path / "none" / "cookie.secret"))


@pytest.mark.parametrize(
    ("text", "words"), [(None, "is not here"), ("", "is empty"), (" \n", "is empty"), ("secret\n", "white space")]
)
def test_a_secret_that_is_missing_empty_or_has_white_space_around_it_is_warned_about(tmp_path, text, words):
    client, cookie = tmp_path / "client.secret", tmp_path / "cookie.secret"
    cookie.write_text("good")
    if text is not None:
        client.write_text(text)
    cookie.chmod(0o600)
    made = plan(
        sds="/run/sds",
        inbound=listener(["*"], login=login(client_secret_file=str(client), cookie_secret_file=str(cookie))),
    )
    told = next(warnings(made))
    assert words in told
    assert str(client) in told
    client.write_text("a-good-secret")
    client.chmod(0o600)
    assert list(warnings(made)) == []
    client.unlink()
    client.mkdir()
    (told,) = warnings(made)
    assert "is a folder" in told


@pytest.mark.parametrize(
    "credential",
    [
        lambda name: {"secret_file": name},
        lambda name: {
            "oauth2": {"token_endpoint": "https://idp.test/token", "client_id": "gate", "client_secret_file": name}
        },
    ],
)
def test_the_secret_of_a_credential_is_looked_at_too(tmp_path, credential):
    secret = tmp_path / "orders.secret"
    guarded = destination(name="b", hosts=("b.test",), credential=credential(str(secret)))
    made = plan(sds="/run/sds", egress=egress(destination(), guarded))
    assert list(warnings(made)) == [
        f"{secret} is not here; without it Envoy answers 503 to every call of the destination b"
    ]
    secret.write_text("s3cret")
    secret.chmod(0o640)
    assert list(warnings(made)) == []
    secret.write_text("s3cret\n")
    secret.chmod(0o644)
    (spaces,) = warnings(made)
    assert "white space" in spaces
    assert "s3cret" not in spaces
    secret.write_text(" ")
    assert "is empty; Envoy would answer 503 to every call" in next(warnings(made))
