"""Keeps a person's login: in the keyring of the desktop if there is one, else in a private file.

Law 1: the file is an item of a state folder (`authz.system.state_folder`): mode 0600 whatever the umask, in a folder
of mode 0700, written whole, not read through a link nor if others may read it.
Law 2: `keyring` is imported only where it is installed, and used only if its backend is a real one: with a priority
below 1 it is none, or keeps plain text.
Law 3: one process at a time renews or replaces a login: a provider may take the second use of a refresh token for
theft.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from authz.login.provider import LoginError
from authz.login.tokens import Client, Tokens
from authz.system.held_file import held
from authz.system.regular_file import why
from authz.system.state_folder import Item, StateFolder, opened_folder

SERVICE: Final = "airflow-envoy-authz"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_BYTES: Final = 1 << 20
_WAIT_S: Final = 60.0
_MODE: Final = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What is kept: what was asked for, and the tokens."""

    client: Client
    tokens: Tokens


def default_folder() -> Path:
    """`authz` in the user's folder for state (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "authz"


class Store:
    """The login of one name.

    Args:
        name: letters, digits, `.`, `_` and `-`.
        folder: of the file.

    Raises:
        LoginError: that is no name.
    """

    def __init__(self, name: str = "default", folder: Path | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise LoginError("a login's name has letters, digits, `.`, `_` and `-`, at most 64")
        self._name = name
        self._item = f"login-{name}"
        self._folder = default_folder() if folder is None else folder

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No other process uses this login during the block.

        Raises:
            LoginError: another one has it for too long, or the folder cannot be used.
        """
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with opened_folder(self._folder, make=True) as folder:
                lock = held(Path(f"/proc/self/fd/{folder}/.{self._item}.lock"), wait_s=_WAIT_S)
        except BlockingIOError:
            raise LoginError("another `authz` uses this login; try again when it has ended") from None
        except OSError as error:
            raise LoginError(f"{self._folder} cannot be used: {why(error)}") from None
        try:
            yield
        finally:
            os.close(lock)

    def read(self) -> Login | None:
        """The login; None if there is none.

        Raises:
            LoginError: it cannot be used.
        """
        text = self._from_keyring()
        if text is None:
            folder = StateFolder(self._folder)
            item = folder.read(self._item, _MOST_BYTES)
            if item is None:
                if folder.failed():
                    raise LoginError(f"{'; '.join(folder.problems())}: remove it and run `authz login`")
                return None
            text = item.data.decode("utf-8", "replace")
        try:
            found = json.loads(text)
            return Login(client=Client(**found["client"]), tokens=Tokens(**found["tokens"]))
        except (ValueError, TypeError, KeyError):
            text = "what is kept is not a login of this version: run `authz logout`, then `authz login`"
            raise LoginError(text) from None

    def write(self, login: Login) -> str:
        """Keep a login in place of the one before; returns where, for people.

        Raises:
            LoginError: it cannot be kept.
        """
        text = json.dumps({"client": asdict(login.client), "tokens": asdict(login.tokens)})
        ring = _keyring()
        if ring is not None:
            with contextlib.suppress(ring.errors.KeyringError):  # locked, or too long for it: then the file
                ring.set_password(SERVICE, self._name, text)
                self._remove_file()
                return f"the keyring ({type(ring.get_keyring()).__module__})"
        folder = StateFolder(self._folder)
        folder.keep(self._item, Item(about={}, data=text.encode()))
        if folder.failed():
            raise LoginError("; ".join(folder.problems()))
        return str(self._folder / self._item)

    def remove(self) -> None:
        """Forget the login, wherever it is kept."""
        ring = _keyring()
        if ring is not None:
            with contextlib.suppress(ring.errors.KeyringError):
                ring.delete_password(SERVICE, self._name)
        self._remove_file()

    def _remove_file(self) -> None:
        with contextlib.suppress(FileNotFoundError), opened_folder(self._folder, make=False) as folder:
            os.unlink(self._item, dir_fd=folder)

    def _from_keyring(self) -> str | None:
        ring = _keyring()
        if ring is None:
            return None
        try:
            found: str | None = ring.get_password(SERVICE, self._name)
        except ring.errors.KeyringError:
            return None
        return found


def _keyring() -> Any:
    """The module `keyring` with a real backend; None where there is none."""
    if find_spec("keyring") is None:
        return None
    ring = import_module("keyring")
    import_module("keyring.errors")
    try:
        return ring if ring.get_keyring().priority >= 1 else None
    except (RuntimeError, ring.errors.KeyringError):  # it cannot run here
        return None
