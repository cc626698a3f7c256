"""The egress part of Airflow's configuration section `[authz]`, for workers.

Law: a mistake here cannot stop a task: a value that cannot be used is reported and counts as not set; the gate denies
calls without identity.
"""

from collections.abc import Callable
from typing import NamedTuple

from authz.airflow.egress.addresses import host_name

SECTION = "authz"

Get = Callable[[str, str], str]


class Account(NamedTuple):
    """The service account of asserted calls: a file with its token, or what is needed to request one."""

    token_file: str
    token_endpoint: str
    client_id: str
    client_secret_file: str
    parameters: tuple[tuple[str, str], ...]

    @property
    def is_complete(self) -> bool:
        """Whether it is enough to get a token."""
        return bool(self.token_file or (self.token_endpoint and self.client_id and self.client_secret_file))


class EgressSettings(NamedTuple):
    """What workers know about the gate.

    `proxy` is the gate's egress listener as a forward proxy, or "" where tasks get no proxy variables. With `required`,
    a task does not start without its token. `no_proxy` are hosts that are reached without the proxy. `account` is the
    service account that asserts.
    """

    proxy: str
    required: bool
    no_proxy: tuple[str, ...]
    account: Account


def read(get: Get) -> EgressSettings:
    """Read the settings with `get(section, option)`, which returns "" for what is not set."""
    listed = (name.strip() for name in get(SECTION, "egress_no_proxy").split(","))
    own = (host_name(get("core", "execution_api_server_url")), host_name(get("api", "base_url")))
    return EgressSettings(
        proxy=get(SECTION, "egress_proxy").strip().rstrip("/"),
        required=get(SECTION, "egress_required").strip().lower() in {"true", "t", "1"},
        account=Account(
            **{name: get(SECTION, f"egress_{name}").strip() for name in Account._fields if name != "parameters"},
            parameters=tuple(
                (name, value) for name in ("scope", "audience") if (value := get(SECTION, f"egress_{name}").strip())
            ),
        ),
        no_proxy=tuple(dict.fromkeys(name for name in ("localhost", "127.0.0.1", "::1", *own, *listed) if name)),
    )


def from_airflow() -> EgressSettings:
    """Read the settings from Airflow's configuration."""
    from authz.airflow.egress.airflow_versions import conf  # noqa: PLC0415 Airflow's own import time is not ours

    return read(lambda section, option: conf.get(section, option, fallback="") or "")


def is_asserted() -> bool:
    """Whether tasks too assert their run with the service account, and request no identity of their own."""
    from authz.airflow.egress.airflow_versions import conf  # noqa: PLC0415 see above

    return bool(conf.get(SECTION, "egress_identity", fallback="run").strip().lower() == "asserted")
