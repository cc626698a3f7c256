"""The fronts by their names.

Law: as in `authz.fronts`: the same settings give the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from authz.core.errors import ConfigError, Problem
from authz.fronts import nginx
from authz.fronts.plan import Plan, plans
from authz.settings import Settings

FRONTS: Final[Mapping[str, Callable[[Sequence[Plan], Path], Mapping[str, str]]]] = {
    "nginx": nginx.render,
}
"""Each gets the plans, and the folder where its files will be."""


def render(front: str, settings: Settings, file: str, folder: Path) -> Mapping[str, str]:
    """The files of a front by their names in `folder`; `file` is the name of the settings.

    Raises:
        ConfigError: the settings have no `fronts`, or a value that cannot stand in a configuration.
        KeyError: no such front.
    """
    if not settings.fronts:
        raise ConfigError([Problem(file, 0, 0, "there are no `fronts`", "say where one listens: docs/settings.md")])
    return FRONTS[front](plans(settings, file), folder)
