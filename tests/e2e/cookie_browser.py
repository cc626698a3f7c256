"""A browser as far as a login needs one: cookies by the browsers' rules, navigations and scripts' requests, redirects.

`http.cookiejar` keeps no Secure cookies for loopback, knows nothing of `__Host-` and no limit of size; browsers do.
"""

import ssl
from typing import Any, Self

import httpx

COOKIE_LIMIT = 4096  # bytes of name and value that browsers keep
NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-site": "none", "accept": "text/html"}
SCRIPT = {"sec-fetch-mode": "cors", "sec-fetch-site": "same-origin", "accept": "application/json"}


class CookieBrowser:
    """One profile: `cookies[origin]` is what it keeps, by name; `refused` what it would not take."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.cookies: dict[str, dict[str, str]] = {}
        self.refused: list[str] = []
        self._http = httpx.Client(verify=tls or ssl.create_default_context(), timeout=15)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def open(self, url: str, *, steps: int = 20, **options: Any) -> httpx.Response:
        """Open a page, and follow where it leads."""
        answer = self.navigate(url, **options)
        for _ in range(steps):
            if answer.status_code not in {301, 302, 303, 307}:
                return answer
            answer = self.navigate(str(answer.url.join(answer.headers["location"])))
        raise AssertionError(f"more than {steps} redirects, now at {answer.url}")

    def navigate(self, url: str, method: str = "GET", **options: Any) -> httpx.Response:
        """One step of a navigation."""
        return self._ask(method, url, NAVIGATION, **options)

    def script(self, url: str, method: str = "GET", **options: Any) -> httpx.Response:
        """A request of a script of the page; a change carries the page's Origin."""
        origin = {} if method in {"GET", "HEAD"} else {"origin": _origin(httpx.URL(url))}
        return self._ask(method, url, SCRIPT | origin, **options)

    def _ask(
        self, method: str, url: str, own: dict[str, str], *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        target = httpx.URL(url)
        kept = self.cookies.setdefault(_origin(target), {})
        cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in kept.items())} if kept else {}
        answer = self._http.request(method, target, headers=own | cookie | (headers or {}), **options)
        self._http.cookies.clear()
        for line in answer.headers.get_list("set-cookie"):
            self._keep(kept, target, line)
        return answer

    def _keep(self, kept: dict[str, str], url: httpx.URL, line: str) -> None:
        pair, *attributes = [part.strip() for part in line.split(";")]
        name, _, value = pair.partition("=")
        said = {key.lower(): text for key, _, text in (attribute.partition("=") for attribute in attributes)}
        over_tls = url.scheme == "https"
        host_only = "secure" in said and said.get("path") == "/" and "domain" not in said and over_tls
        if (
            len(pair) > COOKIE_LIMIT
            or ("secure" in said and not (over_tls or url.host in {"127.0.0.1", "localhost"}))
            or (name.startswith("__Host-") and not host_only)
            or (name.startswith("__Secure-") and not ("secure" in said and over_tls))
        ):
            self.refused.append(name)
        elif said.get("max-age") == "0" or "1970" in said.get("expires", ""):
            kept.pop(name, None)
        else:
            kept[name] = value


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"
