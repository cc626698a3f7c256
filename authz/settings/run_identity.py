"""The section `run_identity` of the settings file: how calling tasks are identified, and with which assurance level.

Law: data and its checks only, as in `authz.settings`. What is declared about the deployment (`signing_key_isolated`) is
off unless an operator sets it: a level is never better than what is known.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from authz.core.documents.quantities import Duration
from authz.core.loopback import names_loopback
from authz.core.model import Level
from authz.core.urls import Url
from authz.settings.named_files import Authority, ReadFile, SecretFile
from authz.settings.sections import Disagreement, Section

_BASE_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")


def _airflow(value: str) -> str:
    """An origin, and the base path that Airflow is served under; without a slash at its end."""
    try:
        url = Url.parse(value)
    except ValueError:
        url = None
    if url is None or url.query or not _BASE_PATH.fullmatch(url.path):
        raise ValueError("write Airflow's address as http://host:port or https://host/base, without user and query")
    return value.rstrip("/")


AirflowUrl = Annotated[str, AfterValidator(_airflow)]
Algorithm = Literal["EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]


class RunIdentity(Section):
    """Which DAG run an outbound call comes from. Without the section, calls have no run identity."""

    airflow: AirflowUrl | None = Field(
        None, description="Airflow's API server, asked whether a task is running: `https://airflow.internal:8080`"
    )
    airflow_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    airflow_token_file: SecretFile | None = Field(
        None, description="a file with Airflow's token for these questions; default: an assertion by the gate"
    )
    audience: str = Field("airflow", min_length=1, description="`aud` of that assertion")
    issuer: str | None = Field(None, min_length=1, description="`iss` of the task tokens: Airflow's `jwt_issuer`")
    jwks_uri: str | None = Field(None, description="the public keys of the task tokens, a URL")
    jwks_file: ReadFile | None = Field(None, description="the same, a file: read again when it changes")
    algorithms: tuple[Algorithm, ...] = Field(
        ("EdDSA", "RS256"), min_length=1, description="`alg` of the task tokens: Airflow's `jwt_algorithm`"
    )
    insecure_http: bool = Field(False, description="`airflow` and `jwks_uri` may be plain http beyond this machine")
    signing_key_isolated: bool = Field(
        False,
        description="tasks can reach neither Airflow's signing key nor its database, broker messages or pod specs;"
        " without it runs are `asserted` at most",
    )
    lifetime: Duration = Field(120.0, ge=10, le=120, description="life of a token that is bound to a task's key")
    proxy_lifetime: Duration = Field(300.0, ge=10, le=300, description="life of a token for proxy variables")
    recheck: Duration = Field(
        15.0, ge=1, le=300, description="a call is let through if the task was seen running within this time"
    )
    timeout: Duration = Field(1.5, gt=0, le=30, description="longest time of one question to Airflow")
    replays: int = Field(
        100_000,
        ge=1_000,
        le=10_000_000,
        description="size of the replay cache, some two minutes of proofs; when it is full, calls are answered 503",
    )

    @property
    def issues(self) -> bool:
        """Whether tasks can get tokens here: Airflow can be asked, and its tokens verified."""
        return self.airflow is not None

    @property
    def best(self) -> tuple[Level, str]:
        """The highest level that is reported for a run, and why it is no higher."""
        if not self.issues:
            return (
                Level.ASSERTED,
                "tasks get no tokens here (no `airflow`): the gate has only what they claim",
            )
        if not self.signing_key_isolated:
            return Level.ASSERTED, (
                "`signing_key_isolated` is not declared: tasks may be able to reach Airflow's signing key"
            )
        return Level.VERIFIED, ""

    @property
    def report(self) -> dict[str, str]:
        """The same for an operator."""
        level, why = self.best
        return {"level": level.value, **({"why": why} if why else {})}

    def disagreements(self) -> Iterator[Disagreement]:
        """Either everything that issuing tokens needs, or none of it."""
        keys = [key for key in (self.jwks_uri, self.jwks_file) if key]
        if len(keys) > 1:
            text = "the task tokens' keys come from `jwks_uri` or `jwks_file`, not from both"
            yield Disagreement(("jwks_file",), text, "remove one of them")
        wanted = {"airflow": self.airflow, "issuer": self.issuer, "jwks_uri` or `jwks_file": keys}
        missing = [name for name, value in wanted.items() if not value]
        if 0 < len(missing) < len(wanted):
            yield Disagreement(
                (),
                f"to issue tokens to tasks, `{'` and `'.join(missing)}` is needed as well",
                "write them, or none of `airflow`, `issuer`, `jwks_uri` and `jwks_file`",
                without=(("airflow",), ("issuer",), ("jwks_uri",), ("jwks_file",)),
            )
        if self.recheck < 2 * self.timeout:
            yield Disagreement(
                ("recheck",) if "recheck" in self.model_fields_set else ("timeout",),
                "`recheck` must be at least twice `timeout`: a slow answer would be too old when it arrives",
                f"at least {2 * self.timeout:g}s",
                without=(("recheck",), ("timeout",)),
            )
        for name, url in (("airflow", self.airflow), ("jwks_uri", self.jwks_uri)):
            if url and url.startswith("http://") and not (self.insecure_http or names_loopback(_host(url))):
                yield Disagreement(
                    (name,),
                    f"`{name}` is plain http beyond this machine: use https, or say `insecure_http: true`",
                    "write https://",
                    without=(("insecure_http",),),
                )


def _host(url: str) -> str:
    authority = url.partition("://")[2].partition("/")[0]
    return authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
