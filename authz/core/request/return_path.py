"""Where a browser goes back to after a login: the `next` of Airflow's own login route, checked.

Law: the result is always a path on this site; if the query says anything else, it is the start page. A browser reads
`//host`, `https:host` and a path that begins with a slash and a backslash as other sites, and it drops tabs and line
ends first; so only visible ASCII without a backslash is accepted, and the path begins with one slash. An address with
this site's own origin is replaced by its path.
"""

import re
from typing import Final

_MOST: Final = 4096  # characters of `next`, decoded
_NAME: Final = "next="
_ENCODED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_LINK: Final = re.compile(r"/(?!/)[!-\[\]-~]*", re.ASCII)  # visible ASCII without a backslash


def return_path(target: str, origin: str, start: str) -> str:
    """The path and query to go back to.

    Args:
        target: the request target of the login route, with its query.
        origin: the site's own, as `https://airflow.example.com`.
        start: the start page, for a target without one `next` that is on this site.
    """
    _, _, query = target.partition("?")
    found = [pair.removeprefix(_NAME) for pair in query.split("&") if pair.startswith(_NAME)]
    if len(found) != 1:
        return start
    link = _ENCODED.sub(_character, found[0].replace("+", " "))
    link = link.removeprefix(origin) if link.startswith(f"{origin}/") else link
    return link if len(link) <= _MOST and _LINK.fullmatch(link) else start


def _character(encoded: re.Match[str]) -> str:
    """One byte of `next`; the bytes of non-ASCII characters never read as ASCII."""
    return chr(int(encoded[1], 16))
