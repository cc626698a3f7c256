"""`AuthzAuthManager`: Airflow 3.3 behind the gate, with no login, no users and no tokens of its own.

Use it with `[core] auth_manager = authz.airflow.auth_manager.AuthzAuthManager` and the section `[authz]`
(`authz.airflow.options`). Law: a user exists for one request only; `AssertionMiddleware` makes it from that request's
assertion. Nothing that Airflow itself issues can make one.
"""

from typing import Any

from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.common.types import MenuItem
from airflow.exceptions import AirflowConfigException
from fastapi import FastAPI, HTTPException

from authz.airflow import levels
from authz.airflow.gate import Gate, mark, open_gate, page_app
from authz.airflow.verifier import Asserted

NO_TOKENS = "This Airflow issues no tokens: requests are authenticated by its gate."


class AuthzUser(BaseUser):
    """Airflow's view of the caller that the gate asserts."""

    def __init__(self, asserted: Asserted) -> None:
        self.asserted = asserted

    def get_id(self) -> str:
        """Return one string for the issuer and subject at the identity provider."""
        return self.asserted.user_id

    def get_name(self) -> str:
        """Return the name that Airflow shows and writes to its event log and to the runs that the user triggers."""
        return self.asserted.shown_name

    def __repr__(self) -> str:
        return f"AuthzUser({self.get_id()!r}, airflow_role={self.asserted.airflow_role!r})"


def mark_user(asserted: Asserted) -> dict[str, Any]:
    """Return the request state that identifies this person or service."""
    return mark(AuthzUser(asserted))


class AuthzAuthManager(BaseAuthManager[AuthzUser]):
    """Answers Airflow's own checks from the assertion: its `airflow_role` sets the level, its `dags` the DAGs."""

    _gate: Gate | None = None

    def init(self) -> None:
        """Read the configuration; Airflow does not start when any of it is wrong."""
        self._gate = open_gate()
        super().init()

    def get_fastapi_middlewares(self) -> list[tuple[Any, dict[str, Any]]]:
        """Return the middleware that verifies assertions."""
        return self._opened().middlewares(mark_user)

    def get_fastapi_app(self) -> FastAPI:
        """Return the one page that this auth manager has: it says to use the gate."""
        return page_app(self._opened().options.branding)

    def get_url_login(self, **_kwargs: Any) -> str:
        """Return where to send a browser without identity: `[authz] login_url`, else a page that names the gate."""
        return self._opened().url_login

    def get_url_logout(self) -> str | None:
        """Return `[authz] logout_url`, for example Envoy's sign-out path."""
        return self._opened().url_logout

    def _opened(self) -> Gate:
        if self._gate is None:
            raise AirflowConfigException("AuthzAuthManager.init() was not called.")
        return self._gate

    def deserialize_user(self, token: dict[str, Any]) -> AuthzUser:  # noqa: ARG002 - Airflow's signature
        """Refuse: a token issued by Airflow identifies no one here."""
        raise ValueError(NO_TOKENS)

    def serialize_user(self, user: AuthzUser) -> dict[str, Any]:
        """Return the subject alone; a user cannot be made from it again."""
        return {"sub": user.get_id()}

    def generate_jwt(self, user: AuthzUser, **_kwargs: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Refuse to issue a token: `POST /ui/auth/token` answers 403."""
        raise HTTPException(status_code=403, detail=NO_TOKENS)

    def is_authorized_configuration(self, *, method: str, user: AuthzUser, details: Any = None) -> bool:  # noqa: ARG002
        """Return whether the user may read Airflow's configuration."""
        return levels.may(user.asserted.airflow_role, method, "configuration")

    def is_authorized_connection(self, *, method: str, user: AuthzUser, details: Any = None) -> bool:  # noqa: ARG002
        """Return whether the user may use connections."""
        return levels.may(user.asserted.airflow_role, method, "connection")

    def is_authorized_dag(
        self,
        *,
        method: str,
        user: AuthzUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Return whether the user may use a DAG or what belongs to it.

        Without a DAG id, Airflow asks whether the user may do so with any DAG at all. It then asks again with each id,
        or has its list narrowed by `filter_authorized_dag_ids`.
        """
        who = user.asserted
        if not levels.may_dag(who.airflow_role, method, access_entity.name if access_entity else None):
            return False
        if details is None or details.id is None:
            return bool(who.dags.allowed)
        return who.dags.permits(details.id)

    def is_authorized_asset(self, *, method: str, user: AuthzUser, details: Any = None) -> bool:  # noqa: ARG002
        """Return whether the user may use assets."""
        return levels.may(user.asserted.airflow_role, method, "asset")

    def is_authorized_asset_alias(self, *, method: str, user: AuthzUser, details: Any = None) -> bool:  # noqa: ARG002
        """Return whether the user may use asset aliases."""
        return levels.may(user.asserted.airflow_role, method, "asset_alias")

    def is_authorized_pool(self, *, method: str, user: AuthzUser, details: Any = None) -> bool:  # noqa: ARG002
        """Return whether the user may use pools."""
        return levels.may(user.asserted.airflow_role, method, "pool")

    def is_authorized_variable(self, *, method: str, user: AuthzUser, details: Any = None) -> bool:  # noqa: ARG002
        """Return whether the user may use variables."""
        return levels.may(user.asserted.airflow_role, method, "variable")

    def is_authorized_view(self, *, access_view: AccessView, user: AuthzUser) -> bool:
        """Return whether the user may see one of Airflow's views."""
        return levels.may_view(user.asserted.airflow_role, access_view.name)

    def is_authorized_custom_view(self, *, method: str, resource_name: str, user: AuthzUser) -> bool:  # noqa: ARG002
        """Return whether the user may use a plugin's view: only admins may, because plugins declare no level."""
        return levels.reaches(user.asserted.airflow_role, "admin")

    def filter_authorized_menu_items(self, menu_items: list[MenuItem], *, user: AuthzUser) -> list[MenuItem]:
        """Return the menu items whose pages the gate would open for the user."""
        return [item for item in menu_items if item.name in user.asserted.menu]

    def filter_authorized_connections(
        self, *, conn_ids: set[str], user: AuthzUser, method: str = "GET", **_team: Any
    ) -> set[str]:
        """Return all connections or none: the level does not depend on the connection."""
        return set(conn_ids) if self.is_authorized_connection(method=method, user=user) else set()

    def filter_authorized_dag_ids(
        self, *, dag_ids: set[str], user: AuthzUser, method: str = "GET", **_team: Any
    ) -> set[str]:
        """Return the DAGs that the assertion grants."""
        return user.asserted.dags.narrow(dag_ids) if self.is_authorized_dag(method=method, user=user) else set()

    def filter_authorized_pools(
        self, *, pool_names: set[str], user: AuthzUser, method: str = "GET", **_team: Any
    ) -> set[str]:
        """Return all pools or none."""
        return set(pool_names) if self.is_authorized_pool(method=method, user=user) else set()

    def filter_authorized_variables(
        self, *, variable_keys: set[str], user: AuthzUser, method: str = "GET", **_team: Any
    ) -> set[str]:
        """Return all variables or none."""
        return set(variable_keys) if self.is_authorized_variable(method=method, user=user) else set()
