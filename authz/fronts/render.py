"""The fronts by their names.

Law: as in `authz.fronts`: the same settings give the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from authz.core.errors import ConfigError, Problem
from authz.fronts import apache, caddy, jetty, lighttpd, nginx, worker
from authz.fronts.plan import Plan, plans
from authz.fronts.values import plain
from authz.settings import Settings

OVER_FASTCGI: Final = frozenset({"apache", "lighttpd"})
"""Fronts that ask as FastCGI servers ask an authorizer."""
FRONTS: Final[Mapping[str, Callable[[Sequence[Plan], Path], Mapping[str, str]]]] = {
    "apache": apache.render,
    "caddy": caddy.render,
    "jetty": jetty.render,
    "lighttpd": lighttpd.render,
    "nginx": nginx.render,
    "worker": worker.render,
}
"""Each gets the plans, and the folder where its files will be."""


def render(front: str, settings: Settings, file: str, folder: Path) -> Mapping[str, str]:
    """The files of a front by their names in `folder`; `file` is the name of the settings.

    Raises:
        ConfigError: the settings have no `fronts`, no address where this one asks, a value that cannot stand in a
            configuration, or what this front cannot do.
        KeyError: no such front.
    """
    if not settings.fronts:
        raise ConfigError([Problem(file, 0, 0, "there are no `fronts`", "say where one listens: docs/settings.md")])
    plain(str(folder), "the folder", file)
    made = plans(settings, file)
    key = "fastcgi" if front in OVER_FASTCGI else "listen"
    for plan in made:
        if not (plan.fastcgi if front in OVER_FASTCGI else plan.gate):
            text = f"{front} asks about {plan.name} at an address of `http_check.{key}`, and there is none"
            raise ConfigError([Problem(file, 0, 0, text, "add one: docs/settings.md")])
    try:
        return FRONTS[front](made, folder)
    except ConfigError as error:  # a front names its own file, which is not written; the mistake is in the settings
        raise ConfigError([replace(one, file=file) for one in error.problems]) from None
