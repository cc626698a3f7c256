"""A person with a browser, as far as the tour needs one: navigations, cookies, a click on the sign-in page.

Law: it knows the gate and the provider only by their addresses and goes where they send it; it sends back the cookies
that they set. Real browsers are in tests/browser.
"""

from dataclasses import dataclass, field

import httpx

from demo.tour_client import Answer, Asked, ask

NAVIGATION = {"sec-fetch-mode": "navigate", "accept": "text/html"}
SCRIPT = {"sec-fetch-mode": "cors", "sec-fetch-site": "same-origin"}
REDIRECTS = range(300, 400)
STEPS = 10


class AstrayError(ValueError):
    """A redirect loop."""


@dataclass(slots=True, kw_only=True)
class Visitor:
    """One browser profile. `login` names the button that it clicks at the provider; cookies are kept by port."""

    login: str
    issuer: str
    cookies: dict[int, dict[str, str]] = field(default_factory=dict, repr=False)

    def navigate(self, url: str) -> Answer:
        """Open one address, without following where it leads."""
        return self._ask(url, NAVIGATION)

    def fetch(self, url: str) -> Answer:
        """Ask as a script on the page does."""
        return self._ask(url, SCRIPT)

    def open(self, url: str) -> Answer:
        """Open an address and follow where it leads, through the sign-in page too."""
        for _ in range(STEPS):
            answer = self._sign_in(url) if url.startswith(f"{self.issuer}/authorize?") else self.navigate(url)
            if answer.status not in REDIRECTS:
                return answer
            url = answer.location if "://" in answer.location else _origin(url) + answer.location
        raise AstrayError(f"more than {STEPS} redirects; the last leads to {_origin(url)}")

    def _sign_in(self, url: str) -> Answer:
        body = str(httpx.QueryParams({"login": self.login})).encode()
        return self._ask(url, {**NAVIGATION, "content-type": "application/x-www-form-urlencoded"}, body)

    def _ask(self, url: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
        parts = httpx.URL(url)
        port = parts.port or 80
        kept = self.cookies.setdefault(port, {})
        told = {"cookie": "; ".join(f"{name}={value}" for name, value in kept.items())} if kept else {}
        answer = ask(
            Asked(
                port=port,
                method="GET" if body is None else "POST",
                target=parts.raw_path.decode(),
                host=parts.netloc.decode(),
                headers=headers | told,
                raw=body,
            )
        )
        for cookie in answer.set_cookies:
            name, _, rest = cookie.partition("=")
            value, _, attributes = rest.partition(";")
            kept.pop(name, None)
            if "max-age=0" not in attributes.lower() and "01 jan 1970" not in attributes.lower():
                kept[name] = value
        return answer


def _origin(url: str) -> str:
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode()}"
