"""`AuthzFabAuthManager`: keeps FAB's users, roles and permissions, and lets the gate authenticate the caller.

Use it with `[core] auth_manager = authz.airflow.fab_auth_manager.AuthzFabAuthManager` and the section `[authz]`; needs
Airflow's FAB provider. Law: only a verified assertion makes a user, as with `AuthzAuthManager`: the active user of FAB
whose name is exactly the assertion's. FAB alone decides what this user may do; the assertion's role, DAGs and menu are
ignored. A caller that FAB does not know is anonymous. FAB's database is queried in threads, never on the event loop:
requests that hold the last of its connections could not end, and no other request could be served.
"""

import threading
from typing import Any

from airflow.exceptions import AirflowConfigException
from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from airflow.providers.fab.auth_manager.models import User
from airflow.utils.session import create_session
from fastapi import FastAPI
from sqlalchemy import select

from authz.airflow.gate import Gate, mark, open_gate, page_app
from authz.airflow.verifier import Asserted


class _SharedCache:
    """A lock around FAB's cache of users, which is not thread-safe; has the methods that `cachedmethod` uses."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self._lock = threading.Lock()

    def __getitem__(self, user_id: int) -> User:
        with self._lock:
            return self._cache[user_id]

    def __setitem__(self, user_id: int, user: User) -> None:
        with self._lock:
            self._cache[user_id] = user


class AuthzFabAuthManager(FabAuthManager):  # type: ignore[misc]  # the provider is not installed with the tools
    """FAB's decisions about the user that the gate names."""

    cache = _SharedCache(FabAuthManager.cache)
    _gate: Gate | None = None

    def init(self) -> None:
        """Read the configuration; Airflow does not start when any of it is wrong."""
        super().init()
        self._gate = open_gate()

    def get_fastapi_middlewares(self) -> list[tuple[Any, dict[str, Any]]]:
        """Return the middleware that verifies assertions, and not FAB's, which lets in unknown callers."""
        return self._opened().middlewares(self._mark, mark_blocks=True, dags=False)

    def get_fastapi_app(self) -> FastAPI:
        """Return FAB's application behind the page that says to use the gate."""
        app = page_app(self._opened().options.branding)
        app.mount("/", super().get_fastapi_app())
        return app

    def get_url_login(self, **_kwargs: Any) -> str:
        """Return where to send a browser without identity: not FAB's form, whose session would not be accepted."""
        return self._opened().url_login

    def get_url_logout(self) -> str | None:
        """Return `[authz] logout_url`."""
        return self._opened().url_logout

    def _opened(self) -> Gate:
        if self._gate is None:
            raise AirflowConfigException("AuthzFabAuthManager.init() was not called.")
        return self._gate

    def _mark(self, asserted: Asserted) -> dict[str, Any]:
        with create_session() as session:
            found = session.execute(select(User.id, User.username).where(User.username == asserted.username)).first()
        if found is None or found.username != asserted.username:  # some databases ignore case
            return {}
        try:
            return mark(self.deserialize_user({"sub": str(found.id)}))
        except ValueError:  # not active, or gone
            return {}
