"""Checks across the sections of the settings file, which a section cannot make alone.

Law: files are only identified, never read. Every disagreement is found, with its key: a setting that would have no
effect, make every check fail, or destroy a file is refused at once.
"""

import os
import stat
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.settings.named_files import Named, Use, named

if TYPE_CHECKING:
    from authz.settings import Settings


# One PEM file may hold a certificate, its chain and its key.
_SHARED: Final = frozenset({Use.CERTIFICATE, Use.AUTHORITY, Use.SECRET})


class Disagreement(NamedTuple):
    """The key (its path in the file), what is wrong, and what to do."""

    loc: tuple[str | int, ...]
    text: str
    hint: str


def disagreements(settings: "Settings") -> Iterator[Disagreement]:
    """All settings that do not agree."""
    yield from _keys_come_while_a_check_waits(settings)
    yield from _envoy_speaks_as_the_gate_listens(settings)


def _keys_come_while_a_check_waits(settings: "Settings") -> Iterator[Disagreement]:
    """A check with a new key id may have to wait for the interval to end, and then for the fetch."""
    if settings.keys.min_interval >= settings.limits.wait:
        yield Disagreement(
            ("keys", "min_interval") if "min_interval" in settings.keys.model_fields_set else ("limits", "wait"),
            "`keys.min_interval` must be less than `limits.wait`: a check would give up before the key is fetched",
            f"less than {settings.limits.wait:g}s, or raise `limits.wait`",
        )


def _envoy_speaks_as_the_gate_listens(settings: "Settings") -> Iterator[Disagreement]:
    """The gate's TLS, and Envoy's settings for it."""
    envoy, tls = settings.envoy, settings.tls
    if envoy is None:
        return
    if tls is None:
        for key in ("authz_tls_ca", "authz_tls_name", "authz_tls_certificate", "authz_tls_key"):
            if key in envoy.model_fields_set and getattr(envoy, key) is not None:
                yield Disagreement(("envoy", key), f"`{key}` has no effect without `tls`", "set `tls`, or remove it")
    elif tls.client_ca is not None and envoy.authz_tls_certificate is None:
        yield Disagreement(
            ("tls", "client_ca"),
            "`tls.client_ca` wants a certificate of Envoy, and Envoy has none: every check would be answered 503",
            "set `envoy.authz_tls_certificate` and `envoy.authz_tls_key`",
        )


def one_file_for_two(settings: "Settings", file: Path) -> Iterator[Disagreement]:
    """Two keys that name the same file, by its path or by a link; `settings` have absolute paths, `file` is theirs.

    Writing one would destroy the other: for example, a decision log in place of the policy.
    """
    found = [Named((), Use.READ, str(file)), *(one for one in named(settings) if one.use is not Use.FOLDER)]
    places = [(one, _identities(one.path)) for one in found]
    for (first, here), (second, there) in combinations(places, 2):
        if here & there and not {first.use, second.use} <= _SHARED:
            at, other = (first, second) if first.use is Use.WRITTEN else (second, first)
            whose = f"`{other.key}` names" if other.loc else "these settings are in"
            yield Disagreement(at.loc, f"`{at.key}`: {whose} the same file, {at.path}", "give each a file of its own")


def state_is_apart(settings: "Settings", file: Path) -> Iterator[Disagreement]:
    """Other files must not be in the state folder: the gate writes there under its own names."""
    if not settings.state:
        return
    state = Path(os.path.realpath(settings.state))
    found = [Named((), Use.READ, str(file)), *(one for one in named(settings) if one.loc != ("state",))]
    for one in found:
        place = Path(os.path.realpath(one.path))
        if place.is_relative_to(state):
            whose = f"`{one.key}` names" if one.loc else "these settings are in"
            text = f"`state`: {whose} {place}, which is in that folder"
            yield Disagreement(("state",), text, "give the state a folder of its own")


def _identities(path: str) -> frozenset[str | tuple[int, int]]:
    """What identifies a file: its resolved path, and its inode if it exists. Devices have no identity."""
    try:
        status = Path(path).stat()
    except OSError:
        return frozenset({os.path.realpath(path)})
    if not stat.S_ISREG(status.st_mode) or path.startswith("/dev/"):
        return frozenset()
    return frozenset({os.path.realpath(path), (status.st_dev, status.st_ino)})
