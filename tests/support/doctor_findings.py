"""What doctor finds in a configuration of Envoy."""

from authz.core.doctor import envoy, envoy_config
from authz.core.doctor.site import Site

NO_SITE = Site()


def in_envoy(config, site=NO_SITE):
    """The findings about a bootstrap or a dump."""
    return envoy.findings(envoy_config.read(config, "envoy.yaml"), site)


def ids(found):
    return {one.id for one in found}


def texts(found, name):
    return [f"{one.where}: {one.text}" for one in found if one.id == name]
