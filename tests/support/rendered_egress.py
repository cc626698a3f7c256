"""The listeners and clusters for the calls of tasks, rendered from sections of the settings, and what is in them."""

from authz.envoy_config.render import render
from tests.support import envoy_settings
from tests.support.rendered_envoy import cluster, egress, plan

FILTER = "envoy.filters.http.ext_authz"


def rendered(*destinations, execution=None, **changes):
    """The configuration of a file with nothing but these; `changes` are keys of `egress`."""
    egress = {"egress": {"listen": "127.0.0.1:8090", "destinations": destinations, **changes}} if destinations else {}
    return render(envoy_settings.parsed(egress | ({"execution": execution} if execution else {})))


def listener(config, name):
    (found,) = [one for one in config["static_resources"]["listeners"] if one["name"] == name]
    return found


def manager(config, name):
    """The connection manager of a listener."""
    return listener(config, name)["filter_chains"][0]["filters"][0]["typed_config"]


def told(place):
    """What a route, a host or a listener passes to the authorizer."""
    return place["typed_per_filter_config"][FILTER]["check_settings"]["context_extensions"]


def with_secrets(*destinations):
    """The settings of these destinations, with a folder for what names secrets."""
    return plan(inbound=None, egress=egress(*destinations), sds="/run/sds")


def filters(config, name="egress.orders"):
    """The filters of a destination's cluster, by name."""
    (options,) = cluster(config, name)["typed_extension_protocol_options"].values()
    return {entry["name"]: entry["typed_config"] for entry in options["http_filters"]}
