"""Where a login is kept, and what is refused there."""

import json
import os
import stat
import time
import traceback

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked, PasswordDeleteError, PasswordSetError

from authz.login import session
from authz.login.provider import LoginError
from authz.login.store import SERVICE, Login, Store, default_folder
from authz.login.tokens import Client, Tokens
from tests.support.simulators.provider import ScriptedProvider

SECRET, REFRESH = "access-token-of-ann", "refresh-token-of-ann"


class Ring(KeyringBackend):
    """A desktop's keyring."""

    priority = 5

    def __init__(self):
        super().__init__()
        self.kept = {}
        self.locked = False

    def get_password(self, service, username):
        if self.locked:
            raise KeyringLocked
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        if self.locked:
            raise KeyringLocked
        if len(password) > 10_000:
            raise PasswordSetError
        self.kept[service, username] = password

    def delete_password(self, service, username):
        if self.locked:
            raise KeyringLocked
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError


class PlainText(Ring):
    """What keyrings.alt has: a file that is not encrypted."""

    priority = 0.5


@pytest.fixture
def ring():
    before = keyring.get_keyring()
    keyring.set_keyring(found := Ring())
    yield found
    keyring.set_keyring(before)


@pytest.fixture(autouse=True)
def no_keyring():
    before = keyring.get_keyring()
    keyring.set_keyring(null.Keyring())
    yield
    keyring.set_keyring(before)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "authz"


@pytest.fixture
def store(folder):
    return Store(folder=folder)


def login(issuer="https://idp.example.com", **tokens):
    found = {"access": SECRET, "refresh": REFRESH, "ends": 2_000_000_000, "person": "ann"} | tokens
    return Login(client=Client(issuer=issuer, client_id="cli", resource="urn:airflow"), tokens=Tokens(**found))


def kept(store, **tokens):
    with store.alone():
        return store.write(login(**tokens))


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_what_is_kept_is_for_its_owner_alone_whatever_the_umask(folder, store, umask):
    folder.parent.mkdir()
    before = os.umask(umask)
    try:
        if umask == 0o777:
            folder.mkdir(0o700)
            folder.chmod(0o700)
        place = kept(store)
    finally:
        os.umask(before)
    assert place == str(folder / "login-default")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "login-default").stat().st_mode) == 0o600
    assert store.read() == login()


def test_a_link_in_the_files_place_is_replaced_and_its_target_untouched(folder, store, tmp_path):
    (tmp_path / "elsewhere").write_text("of someone else")
    folder.mkdir(0o700, parents=True)
    (folder / "login-default").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LoginError, match="remove it"):
        store.read()
    kept(store)
    assert ((tmp_path / "elsewhere").read_text(), (folder / "login-default").is_symlink()) == ("of someone else", False)
    assert store.read() == login()


def test_a_folder_that_is_a_link_or_open_to_others_is_not_used(folder, store, tmp_path):
    folder.parent.mkdir()
    (tmp_path / "open").mkdir(0o700)
    folder.symlink_to(tmp_path / "open")
    with pytest.raises(LoginError, match="cannot be used"):
        kept(store)
    folder.unlink()
    folder.mkdir(0o700)
    folder.chmod(0o755)
    with pytest.raises(LoginError, match="open to others"):
        kept(store)
    assert list((tmp_path / "open").iterdir()) == list(folder.iterdir()) == []


def test_a_file_that_others_may_read_is_not_used(folder, store):
    kept(store)
    (folder / "login-default").chmod(0o644)
    with pytest.raises(LoginError, match="chmod go="):
        store.read()


def test_a_file_that_is_no_login_is_not_used_and_not_quoted(folder, store):
    kept(store)
    (folder / "login-default").write_text(SECRET)
    with pytest.raises(LoginError) as caught:
        store.read()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[" * 100_000,
        json.dumps({"client": {"issuer": "https://i", "client_id": "c"}, "tokens": {"access": [SECRET]}}),
        json.dumps({"client": {"issuer": "https://i", "client_id": "c"}, "tokens": {"access": SECRET, "ends": "soon"}}),
        json.dumps({"client": {"issuer": 7, "client_id": "c"}, "tokens": {"access": SECRET}}),
    ],
    ids=["null", "deep", "list", "time", "issuer"],
)
def test_a_login_of_other_types_is_not_used_and_a_logout_forgets_it(store, ring, text):
    ring.kept[SERVICE, "default"] = text
    with pytest.raises(LoginError, match="run `authz logout`") as caught:
        session.access_token(store)
    assert SECRET not in str(caught.value)
    with pytest.raises(LoginError):
        session.end(store)
    assert ring.kept == {}


def test_the_keyring_is_preferred_and_the_file_goes(folder, store, ring):
    keyring.set_keyring(null.Keyring())
    kept(store)
    keyring.set_keyring(ring)
    assert kept(store).startswith("the keyring")
    assert (not (folder / "login-default").exists(), store.read()) == (True, login())
    assert list(ring.kept) == [(SERVICE, "default")]
    store.remove()
    assert (ring.kept, store.read()) == ({}, None)


def test_a_locked_keyring_is_passed_over(folder, store, ring):
    ring.locked = True
    assert kept(store) == str(folder / "login-default")
    assert store.read() == login()


@pytest.mark.parametrize("locked", [False, True])
def test_a_login_that_the_keyring_does_not_take_counts_more_than_the_older_one_in_it(folder, store, ring, locked):
    kept(store, access="older", refresh="used")
    ring.locked = locked
    newer = login(access="newer" if locked else "n" * 10_000)
    with store.alone():
        assert store.write(newer) == str(folder / "login-default")
    ring.locked = False
    assert store.read() == newer
    kept(store, access="newest")
    assert (store.read().tokens.access, (folder / "login-default").exists()) == ("newest", False)


def test_a_logout_does_not_say_that_all_is_forgotten_while_the_keyring_is_locked(store, ring):
    kept(store, access="older")
    ring.locked = True
    with pytest.raises(LoginError, match="keyring may still have a login"):
        session.end(store)
    with ScriptedProvider() as provider:
        provider.say("/revoke", b"")
        with store.alone():
            store.write(login(provider.url))
        with pytest.raises(LoginError, match="keyring may still have a login"):
            session.end(store)
        assert [form["token"] for form in provider.forms("/revoke")] == [REFRESH]
        ring.locked = False
        with store.alone():
            store.write(login(provider.url))
        assert session.end(store) == ""
    assert (ring.kept, store.read()) == ({}, None)


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring, PlainText])
def test_a_keyring_that_keeps_nothing_or_plain_text_is_not_used(folder, store, backend):
    keyring.set_keyring(backend())
    assert kept(store) == str(folder / "login-default")


def test_logins_have_names_of_their_own(folder, store):
    kept(store)
    other = Store("prod", folder)
    assert other.read() is None
    for name in ("", "../default", "a/b", ".lock", "x" * 65):
        with pytest.raises(LoginError, match="name"):
            Store(name, folder)


def test_the_folder_is_the_users_for_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "authz"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local" / "state" / "authz"


def test_nothing_that_holds_tokens_shows_them():
    assert SECRET not in repr(login())
    assert REFRESH not in repr(login())


def test_without_a_login_it_says_what_to_do(store):
    with pytest.raises(LoginError, match="run `authz login`"):
        session.access_token(store)
    with pytest.raises(LoginError, match="not logged in"):
        session.end(store)


def test_a_token_without_a_renewal_is_used_to_its_end(store, monkeypatch):
    kept(store, refresh="")
    monkeypatch.setattr(session.time, "time", lambda: 2_000_000_000 - 30)
    assert session.access_token(store) == SECRET
    monkeypatch.setattr(session.time, "time", lambda: 2_000_000_000 - 3)
    with pytest.raises(LoginError, match="run `authz login`"):
        session.access_token(store)


def test_a_renewal_keeps_the_refresh_token_unless_there_is_a_new_one(store):
    with ScriptedProvider() as provider:
        provider.say("/token", {"access_token": "second", "token_type": "Bearer", "expires_in": 1})
        provider.say("/token", {"access_token": "third", "token_type": "Bearer", "refresh_token": "r3"})
        kept(store, ends=1)
        with store.alone():
            store.write(login(provider.url, ends=1))
        assert session.access_token(store) == "second"
        assert store.read().tokens.refresh == REFRESH
        assert session.access_token(store) == "third"
        assert (store.read().tokens.refresh, store.read().tokens.person) == ("r3", "ann")
        assert session.access_token(store) == "third"  # its end is not known
        assert provider.forms("/token")[0] == {
            "grant_type": "refresh_token",
            "refresh_token": REFRESH,
            "client_id": "cli",
            "resource": "urn:airflow",
        }


def test_a_renewal_for_another_person_is_refused_and_nothing_of_it_is_kept(store):
    with ScriptedProvider() as provider:
        now = int(time.time())
        renewed = {"access_token": "second", "token_type": "Bearer", "expires_in": 1}
        answers = [{**renewed, "id_token": provider.id_token(now, sub=one)} for one in ("u1", "u1", "u2")]
        provider.say("/token", *answers)
        with store.alone():
            store.write(login(provider.url, ends=1))
        for _ in range(2):
            assert session.access_token(store) == "second"
            assert store.read().tokens.subject == "u1"
        before = store.read()
        with pytest.raises(LoginError, match="another person's: nothing was kept"):
            session.access_token(store)
        assert store.read() == before


def test_a_refused_renewal_says_what_to_do_and_shows_nothing(store):
    with ScriptedProvider() as provider:
        provider.say("/token", {"error": "invalid_grant", "error_description": REFRESH}, status=400)
        with store.alone():
            store.write(login(provider.url, ends=1))
        with pytest.raises(LoginError, match=r"\(invalid_grant\): run `authz login`") as caught:
            session.access_token(store)
    assert REFRESH not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("status", "said"), [(200, ""), (503, "the revocation endpoint answers with status 503")])
def test_a_logout_forgets_whether_or_not_the_provider_revokes(store, status, said):
    with ScriptedProvider() as provider:
        provider.say("/revoke", b"", status=status)
        with store.alone():
            store.write(login(provider.url))
        assert session.end(store) == said
        assert provider.forms("/revoke") == [{"token": REFRESH, "token_type_hint": "refresh_token", "client_id": "cli"}]
    assert store.read() is None
