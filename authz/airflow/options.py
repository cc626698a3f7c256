"""Airflow's configuration section `[authz]`, read once at start.

Law: every mistake is reported at once, each with the option's name and its environment variable, before Airflow serves
anything. There are no defaults for what decides trust (issuer, audience, where the keys are).
"""

import difflib
import ipaddress
import re
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from authz.airflow.pages import NO_BRANDING, Branding
from authz.airflow.verifier import Expected

SECTION = "authz"
PREFIX = f"AIRFLOW__{SECTION.upper()}__"
DEFAULT_CLOCK_SKEW_S = 5
MAX_CLOCK_SKEW_S = 60
MAX_TEXT = 200  # characters

Get = Callable[[str], str | None]


class OptionsError(Exception):
    """The section cannot be used; `problems` are sentences for the operator."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("[authz] cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The section `[authz]`. Exactly one of `jwks_url` and `jwks_file` is set.

    `grants_urls` end with a slash; they are beside `jwks_url` unless `grants_url` is set.
    """

    expected: Expected
    jwks_url: str = ""
    jwks_file: Path | None = None
    grants_urls: tuple[str, ...] = ()
    login_url: str = ""
    logout_url: str = ""
    branding: Branding = NO_BRANDING


def read(get: Get, given: Iterable[str] = ()) -> Options:
    """Read all options with `get(name)`; `given` are the names that are set. `OptionsError` lists every problem."""
    problems = [_unknown(name) for name in sorted(set(given) - _NAMES.keys() - WORKERS)]
    values = {name: (get(name) or "").strip() for name in _NAMES}
    problems += [f"{_option(name)} is not set: {_NAMES[name]}" for name in ("issuer", "audience") if values[name] == ""]
    insecure = _flag(values, problems)
    problems += _keys_problems(values["jwks_url"], values["jwks_file"], insecure=insecure)
    grants_urls = [url.strip().rstrip("/") + "/" for url in values["grants_url"].split(",") if url.strip()]
    problems += [problem for url in grants_urls for problem in _url_problems("grants_url", url, insecure=insecure)]
    problems += [
        f"{_option(name)} must start with `/` (one slash) or `https://`"
        for name in ("login_url", "logout_url")
        if values[name] and not _safe_link(values[name])
    ]
    problems += _branding_problems(values["organisation"], values["contact"])
    skew = _clock_skew(values["clock_skew"], problems)
    if problems:
        raise OptionsError(tuple(problems))
    return Options(
        expected=Expected(issuer=values["issuer"], audience=values["audience"], clock_skew=skew),
        jwks_url=values["jwks_url"],
        jwks_file=Path(values["jwks_file"]) if values["jwks_file"] else None,
        grants_urls=tuple(grants_urls) or _beside(values["jwks_url"]),
        login_url=values["login_url"],
        logout_url=values["logout_url"],
        branding=Branding(organisation=values["organisation"], contact=values["contact"]),
    )


# The options of workers (`authz.airflow.egress`) are in the same section.
WORKERS = frozenset(
    f"egress_{name}"
    for name in (
        *("proxy", "required", "no_proxy", "identity", "token_file"),
        *("token_endpoint", "client_id", "client_secret_file", "scope", "audience"),
    )
)
_NAMES = {
    "issuer": "the `assertion.issuer` of the gate's settings",
    "audience": "the name of this Airflow, the `audience` of its upstream in the gate's settings",
    "jwks_url": "where the gate serves its public keys (`/jwks.json` of its admin address)",
    "jwks_file": "a file with the gate's public keys",
    "jwks_insecure_http": "true allows plain http to other machines for `jwks_url` and `grants_url`",
    "grants_url": "where gates serve large grants of DAGs; separate several with commas (`/grants` beside `jwks_url`)",
    "clock_skew": "seconds by which the clocks may differ",
    "login_url": "where the browser is sent to log in",
    "logout_url": "where the browser is sent to log out",
    "organisation": "the name above the pages, as `pages.organisation` of the gate's settings",
    "contact": "contact shown on every page: a mail address or an https URL, as `pages.contact` of the gate's settings",
}


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _NAMES, n=1)
    return f"{_option(name)} is not an option" + (f": did you mean `{near[0]}`?" if near else "")


def _option(name: str) -> str:
    return f"`{name}` ({PREFIX}{name.upper()})"


def _flag(values: dict[str, str], problems: list[str]) -> bool:
    text = values["jwks_insecure_http"].lower()
    if text not in {"", "true", "false"}:
        problems.append(f"{_option('jwks_insecure_http')} must be `true` or `false`")
    return text == "true"


def _clock_skew(text: str, problems: list[str]) -> int:
    if text == "":
        return DEFAULT_CLOCK_SKEW_S
    if not (text.isascii() and text.isdigit() and len(text) < len("1000") and int(text) <= MAX_CLOCK_SKEW_S):
        problems.append(f"{_option('clock_skew')} must be whole seconds from 0 to {MAX_CLOCK_SKEW_S}")
        return 0
    return int(text)


def _keys_problems(url: str, file: str, *, insecure: bool) -> list[str]:
    if bool(url) == bool(file):
        said = "are both set" if url else "are both missing"
        return [f"{_option('jwks_url')} and {_option('jwks_file')} {said}: set exactly one"]
    if file:
        return [] if Path(file).is_absolute() else [f"{_option('jwks_file')} must be an absolute path"]
    return _url_problems("jwks_url", url, insecure=insecure)


def _beside(jwks_url: str) -> tuple[str, ...]:
    """Where the gate that serves these keys also serves its grants."""
    return (urllib.parse.urljoin(jwks_url, "grants/"),) if jwks_url else ()


def _url_problems(name: str, url: str, *, insecure: bool) -> list[str]:
    try:
        request = urllib.request.Request(url)  # noqa: S310 - only parsed here
    except ValueError:
        return [f"{_option(name)} is not a URL"]
    if request.type == "https" and request.host:
        return []
    if request.type == "http" and request.host and (insecure or _loopback(request.host)):
        return []
    others = f"{_option('jwks_insecure_http')} = true allows http to others"
    return [f"{_option(name)} must be https, or http to this machine ({others})"]


def _loopback(authority: str) -> bool:
    host = authority.rpartition(":")[0] if not authority.endswith("]") and ":" in authority else authority
    host = host.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _branding_problems(organisation: str, contact: str) -> list[str]:
    problems = []
    if not (organisation.isprintable() and len(organisation) <= MAX_TEXT):
        problems.append(f"{_option('organisation')} must be one line of at most {MAX_TEXT} characters")
    if contact and not (contact.isprintable() and len(contact) <= MAX_TEXT and _contact(contact)):
        problems.append(f"{_option('contact')} must be a mail address or an https URL")
    return problems


_contact = re.compile(r"https://[!#-;=?-~]+|[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", re.ASCII).fullmatch


def _safe_link(link: str) -> bool:
    if not link.isprintable() or "\\" in link or " " in link:
        return False
    return link.startswith("https://") or (link.startswith("/") and not link.startswith("//"))
