"""Checks across the sections of the settings file, which a section cannot make alone.

Law: files are only identified, never read. Every disagreement is found, with its key: a setting that would have no
effect, make every check fail, or destroy a file is refused at once.
"""

import os
import stat
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.core.model import Plane
from authz.settings.log import SALTS
from authz.settings.named_files import Loc, Named, Use, named
from authz.settings.sections import Disagreement, Section, check_endpoints, duplicates, is_loopback

if TYPE_CHECKING:
    from authz.settings import Settings


_ACCESS_LOG: Final = ("envoy", "access_log")
# One PEM file may hold a certificate, its chain and its key.
_SHARED: Final = frozenset({Use.CERTIFICATE, Use.AUTHORITY, Use.SECRET})


def disagreements(settings: "Settings") -> Iterator[Disagreement]:
    """All settings that do not agree: inside each section, and across them."""
    yield from _inside(settings, ())
    yield from _no_plaintext_beyond_loopback(settings)
    yield from _keys_come_while_a_check_waits(settings)
    yield from _who_signs(settings)
    yield from _salts_have_a_place(settings)
    yield from _one_log(settings)
    yield from _fronts_can_ask(settings)
    if settings.envoy is not None:
        yield from _envoy_finds_the_gate(settings)
        yield from _envoy_speaks_as_the_gate_listens(settings)


def _inside(section: Section, loc: Loc) -> Iterator[Disagreement]:
    """The disagreements inside this section and inside those below it."""
    yield from (found.below(loc) for found in section.disagreements())
    for name in type(section).model_fields:
        value = getattr(section, name)
        many = isinstance(value, tuple)
        for position, inner in enumerate(value if many else (value,)):
            if isinstance(inner, Section):
                yield from _inside(inner, (*loc, name, position) if many else (*loc, name))


def _no_plaintext_beyond_loopback(settings: "Settings") -> Iterator[Disagreement]:
    """A Check in clear text shows every token to anyone who listens on the wire."""
    http = settings.http_check
    over_http = () if http is None else enumerate(http.listen)
    places: list[tuple[Loc, str, Loc, bool]] = [
        *((("listen", at), one, ("tls",), settings.tls is not None) for at, one in enumerate(settings.listen)),
        *(
            (("http_check", "listen", at), one, ("http_check", "tls"), http is not None and http.tls is not None)
            for at, one in over_http
        ),
        *(
            (("http_check", "fastcgi", at, "listen"), one.listen, (), False)
            for at, one in enumerate(http.fastcgi if http is not None else ())
        ),
    ]
    for loc, address, key, encrypted in places:
        if not (is_loopback(address) or encrypted or settings.insecure_listen):
            name = ".".join(map(str, key))
            ways = [f"set `{name}`"] if name else []
            yield Disagreement(
                loc,
                f"{address} is reachable from other machines without TLS:"
                f" {', '.join([*ways, 'listen on loopback or a Unix socket'])}, or set `insecure_listen: true`",
                ways[0] if ways else "FastCGI has no TLS",
                without=(*([key] if key else []), ("insecure_listen",)),
            )


def _who_signs(settings: "Settings") -> Iterator[Disagreement]:
    """The gate signs run tokens, its questions to Airflow, and the DAGs that it names, with its assertion keys."""
    if settings.assertion is not None:
        return
    if settings.run_identity is not None:
        yield Disagreement(
            ("run_identity",),
            "`run_identity` needs `assertion`: tokens of runs are signed with its keys",
            "add the section `assertion`",
            without=(("assertion",),),
        )
    inbound = settings.envoy.inbound if settings.envoy is not None else None
    for at, upstream in enumerate(inbound.upstreams if inbound is not None else ()):
        if upstream.narrows_dags:
            yield Disagreement(
                ("envoy", "inbound", "upstreams", at, "narrows_dags"),
                "narrows_dags without `assertion`",
                "Airflow learns the DAGs from the assertion",
                without=(("assertion",),),
            )


def _salts_have_a_place(settings: "Settings") -> Iterator[Disagreement]:
    """Hashes need salts, which must survive the process: the same person is to have the same hash tomorrow."""
    if settings.log.privacy.hash and not settings.salts:
        yield Disagreement(
            ("log", "privacy", "hash"),
            "`hash` needs a file for the salts, and the decision log is none that one could be beside",
            "name it: `salts: salts`",
            without=(("log", "decisions"), SALTS, ("state",)),
        )


def _one_log(settings: "Settings") -> Iterator[Disagreement]:
    """Decisions go to the signed log or to `log.decisions`. A signed log has the name of the assertions' issuer."""
    if not settings.audit.log:
        return
    for name in ("decisions", "queue"):
        if name in settings.log.model_fields_set:
            text = f"`{name}` has no effect with `audit.log`, which takes the decisions"
            yield Disagreement(("log", name), text, "remove one of the two", without=(("audit", "log"),))
    if settings.assertion is None:
        yield Disagreement(
            ("audit", "log"),
            "`audit.log` needs `assertion`: the log is named after its issuer",
            "add the section `assertion`",
            without=(("assertion",),),
        )


def _fronts_can_ask(settings: "Settings") -> Iterator[Disagreement]:
    """Each front asks about a name of `http_check`, at addresses that are known, on the same machine."""
    if not settings.fronts:
        return
    http = settings.http_check
    if http is None:
        text = "`fronts` need `http_check`: they ask over HTTP"
        yield Disagreement(("fronts",), text, "add the section `http_check`", without=(("http_check",),))
        return
    if http.tls is not None:
        text = "`authz front` renders fronts that ask on their own machine, without TLS"
        yield Disagreement(("http_check", "tls"), text, "listen on a Unix socket beside the front", (("fronts",),))
    for at, address in enumerate(http.listen):
        if address.endswith(":0"):
            text = f"{address}: fronts ask there, so its port must be known"
            yield Disagreement(("http_check", "listen", at), text, "write a port", (("fronts",),))
    for at, one in enumerate(http.fastcgi):
        if one.listen.endswith(":0"):
            text = f"{one.listen}: fronts ask there, so its port must be known"
            yield Disagreement(("http_check", "fastcgi", at, "listen"), text, "write a port", (("fronts",),))
    planes = {one.name: one.plane for one in http.audiences}
    for at, front in enumerate(settings.fronts):
        if planes.get(front.name) != Plane.INBOUND.value:
            known = ", ".join(name for name, plane in planes.items() if plane == Plane.INBOUND.value) or "none"
            text = f"{front.name!r} is no inbound name of `http_check.audiences`"
            without: tuple[Loc, ...] = (("http_check", "audiences"),)
            yield Disagreement(("fronts", at, "name"), text, f"there are: {known}", without)
    yield from duplicates(
        ((("fronts", at, "listen"), front.listen) for at, front in enumerate(settings.fronts)), "address of a front"
    )


def _envoy_finds_the_gate(settings: "Settings") -> Iterator[Disagreement]:
    """The gate's addresses must fit into one cluster. A port 0 is known to the gate alone, and never rendered."""
    known = tuple(address for address in settings.authz_endpoints if not address.endswith(":0"))
    try:
        check_endpoints(known or ("127.0.0.1:1",))
    except ValueError as error:
        yield Disagreement(("listen",), f"{error}", "Envoy asks all of these")
    inbound, heard = settings.edge.inbound, settings.revocation.backchannel
    if inbound is not None and inbound.login is not None and heard is not None and heard.endswith(":0"):
        yield Disagreement(
            ("revocation", "backchannel"),
            f"{heard}: Envoy passes logout tokens on to this address, so its port must be known",
            "write a port",
            without=(("envoy", "inbound", "login"),),
        )


def _keys_come_while_a_check_waits(settings: "Settings") -> Iterator[Disagreement]:
    """A check with a new key id may have to wait for the interval to end, and then for the fetch."""
    if settings.keys.min_interval >= settings.limits.wait:
        yield Disagreement(
            ("keys", "min_interval") if "min_interval" in settings.keys.model_fields_set else ("limits", "wait"),
            "`keys.min_interval` must be less than `limits.wait`: a check would give up before the key is fetched",
            f"less than {settings.limits.wait:g}s, or raise `limits.wait`",
            without=(("keys", "min_interval"), ("limits", "wait")),
        )


def _envoy_speaks_as_the_gate_listens(settings: "Settings") -> Iterator[Disagreement]:
    """The gate's TLS, and Envoy's settings for it."""
    envoy, tls = settings.edge, settings.tls
    if tls is None:
        for key in ("authz_tls_ca", "authz_tls_name", "authz_tls_certificate", "authz_tls_key"):
            if key in envoy.model_fields_set and getattr(envoy, key) is not None:
                text = f"`{key}` has no effect without `tls`"
                yield Disagreement(("envoy", key), text, "set `tls`, or remove it", without=(("tls",),))
    elif tls.client_ca is not None and envoy.authz_tls_certificate is None:
        yield Disagreement(
            ("tls", "client_ca"),
            "`tls.client_ca` demands a certificate from Envoy, and Envoy has none: every check would be answered 503",
            "set `envoy.authz_tls_certificate` and `envoy.authz_tls_key`",
            without=(("envoy", "authz_tls_certificate"),),
        )


def one_file_for_two(settings: "Settings", file: Path) -> Iterator[Disagreement]:
    """Two keys that name the same file, by its path or by a link; `settings` have absolute paths, `file` is theirs.

    Writing one would destroy the other: for example, a decision log in place of the policy.
    """
    found = [Named((), Use.READ, str(file)), *(one for one in settings.files() if one.use is not Use.FOLDER)]
    places = [(one, _identities(one.path)) for one in found]
    by_default = SALTS if not settings.log.privacy.salts else None
    for (first, here), (second, there) in combinations(places, 2):
        if here & there and not {first.use, second.use} <= _SHARED and not _is_followed(first, second):
            at, other = (first, second) if first.use is Use.WRITTEN else (second, first)
            whose = f"`{other.key}` {'is by default' if other.loc == by_default else 'names'}"
            text = f"`{at.key}`: {whose if other.loc else 'these settings are in'} the same file, {at.path}"
            without = tuple(one.loc for one in (first, second) if one.loc)
            if by_default in without:
                without = (*without, ("log", "decisions"), ("state",))
            loc = (*SALTS[:-1], "hash") if at.loc == by_default else at.loc
            yield Disagreement(loc, text, "give each a file of its own", without=without)


def _is_followed(first: Named, second: Named) -> bool:
    """Whether one is Envoy's access log, and the other says that it is read."""
    return {first.use, second.use} == {Use.FOLLOWED, Use.WRITTEN} and _ACCESS_LOG in {first.loc, second.loc}


def cookies_have_their_own_secret(settings: "Settings") -> Iterator[Disagreement]:
    """The provider knows the client's secret, so the key of the cookies must be another file, under any name."""
    login = settings.envoy.inbound.login if settings.envoy is not None and settings.envoy.inbound is not None else None
    if login is not None and _identities(login.client_secret_file) & _identities(login.cookie_secret_file):
        loc: Loc = ("envoy", "inbound", "login")
        yield Disagreement(
            (*loc, "client_secret_file"),
            "client secret and cookie secret are one file: the provider would know the cookies' key",
            "give each a file of its own",
            without=((*loc, "client_secret_file"), (*loc, "cookie_secret_file")),
        )


def folders_are_apart(settings: "Settings", file: Path) -> Iterator[Disagreement]:
    """Other files must not be in the folders where the gate writes under its own names."""
    folders = [one for one in named(settings) if one.use is Use.FOLDER]
    found = [Named((), Use.READ, str(file)), *named(settings)]
    for folder in folders:
        inside = Path(os.path.realpath(folder.path))
        for one in found:
            place = Path(os.path.realpath(one.path))
            if one.loc != folder.loc and place.is_relative_to(inside):
                whose = f"`{one.key}` names" if one.loc else "these settings are in"
                text = f"`{folder.key}`: {whose} {place}, which is in that folder"
                without = (folder.loc, one.loc) if one.loc else (folder.loc,)
                yield Disagreement(folder.loc, text, "give it a folder of its own", without=without)


def _identities(path: str) -> frozenset[str | tuple[int, int]]:
    """What identifies a file: its resolved path, and its inode if it exists. Devices have no identity."""
    try:
        status = Path(path).stat()
    except OSError:
        return frozenset({os.path.realpath(path)})
    if not stat.S_ISREG(status.st_mode) or path.startswith("/dev/"):
        return frozenset()
    return frozenset({os.path.realpath(path), (status.st_dev, status.st_ino)})
