"""The egress part of Airflow's configuration section `[authz]`, for workers.

Law: nothing here can stop a task by being wrong: what cannot be used is told, and is as if it were not set; calls
without identity are denied by the gate.
"""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

SECTION = "authz"

Get = Callable[[str, str], str]


class EgressSettings(NamedTuple):
    """What workers are told about the gate.

    `proxy` is the gate's egress listener as a forward proxy, or "" where tasks are given no proxy variables. With
    `required`, a task does not start without its token. `no_proxy` are hosts that are reached without the proxy.
    """

    proxy: str
    required: bool
    no_proxy: tuple[str, ...]


def read(get: Get) -> EgressSettings:
    """Read them with `get(section, option)`, which returns "" for what is not set."""
    listed = (name.strip() for name in get(SECTION, "egress_no_proxy").split(","))
    own = (_host(get("core", "execution_api_server_url")), _host(get("api", "base_url")))
    return EgressSettings(
        proxy=get(SECTION, "egress_proxy").strip().rstrip("/"),
        required=get(SECTION, "egress_required").strip().lower() in {"true", "t", "1"},
        no_proxy=tuple(dict.fromkeys(name for name in ("localhost", "127.0.0.1", "::1", *own, *listed) if name)),
    )


def from_airflow() -> EgressSettings:
    """Read them from Airflow's configuration."""
    from authz.airflow.egress.airflow_versions import conf  # noqa: PLC0415 Airflow's own import time is not ours

    return read(lambda section, option: conf.get(section, option, fallback="") or "")


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
