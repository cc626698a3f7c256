"""An application of servlets with our filter before it, in Jetty or Tomcat, before a real gate: no proxy, no TLS.

with ServletSite(folder, idp, "TomcatMain") as site:
    said(site.get("/x", site.bearer("data-ops")))["user"]
"""

from pathlib import Path
from typing import Any

from tests.e2e.front_site import FrontSite
from tests.e2e.raw_http import RawResponse
from tests.support import java


class ServletSite(FrontSite):
    """As `FrontSite`; `self.upstream` is the Airflow that the application triggers runs at. `options` are Java's."""

    def __init__(
        self,
        folder: Path,
        idp: Any,
        server: str,
        *,
        options: tuple[str, ...] = ("-Djdk.httpclient.allowRestrictedHeaders=host",),
        **more: Any,
    ) -> None:
        super().__init__(folder, idp, "jetty", **more)
        self.server, self._options = server, options
        self._airflow = f"http://{more.get('airflow_at') or self.upstream.address}"
        self.tls = None  # type: ignore[assignment]

    def command(self) -> list[str]:
        program, *rest = java.application(self.server)
        settings = str(self.place / "authz-0.properties")
        return [program, *java.QUICK, *self._options, *rest, settings, str(self.port), self._airflow]


def said(answer: RawResponse) -> dict[str, str]:
    """What the application said of a request, by its keys; names of headers are in lower case."""
    lines = (line.partition("=") for line in answer.body.decode().split("\n"))
    return {key.lower() if key.startswith("named ") else key: value for key, _, value in lines}
