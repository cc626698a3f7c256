"""Sections of the settings as they stand in the file, and what is rendered from them, by name."""

from types import MappingProxyType

from tests.support import envoy_settings


def upstream(**changes):
    return {"name": "airflow", "address": "127.0.0.1:8081", **changes}


def listener(**changes):
    return {"listen": "127.0.0.1:8080", "upstreams": [upstream()], **changes}


def destination(**changes):
    return {"name": "orders", "address": "127.0.0.1:8082", "hosts": ["orders.test"], **changes}


def egress(*destinations, **changes):
    return {"listen": "127.0.0.1:8090", "destinations": destinations or [destination()], **changes}


def plan(authz=("127.0.0.1:9190",), *, gate=MappingProxyType({}), **envoy):
    """The settings with this section `envoy`; None leaves a key out."""
    section = {"inbound": listener(), "sds": "", **envoy}
    return envoy_settings.parsed({key: value for key, value in section.items() if value is not None}, authz, **gate)


def connection_manager(config, number=0):
    (chain,) = config["static_resources"]["listeners"][number]["filter_chains"]
    (only,) = chain["filters"]
    return only["typed_config"]


def cluster(config, name):
    (found,) = [cluster for cluster in config["static_resources"]["clusters"] if cluster["name"] == name]
    return found
