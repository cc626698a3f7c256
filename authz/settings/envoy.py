"""The `envoy` section of the settings file: what `authz envoy` renders.

Law: that of `authz.settings`, of which this is a part. The keys are described here;
`docs/settings.md` is generated from that.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from authz.core.documents.quantities import Duration
from authz.core.model import SERVICE_NAME
from authz.settings.destinations import Credential, DestinationLimits
from authz.settings.named_files import Authority, Certificate, Folder, SecretFile, WrittenFile
from authz.settings.plan import login as login_plan
from authz.settings.plan.egress import check_credential
from authz.settings.sections import Address, Section, Tls, is_loopback, needs_tls


class Upstream(Section):
    """One Airflow behind Envoy."""

    name: str = Field(pattern=f"^{SERVICE_NAME}$", description="name of the Envoy cluster")
    address: Address = Field(description="host:port of the service")
    hosts: tuple[str, ...] = Field(("*",), min_length=1, description="Host values that are routed to it")
    audience: str | None = Field(None, description="`aud` of its assertions; without one it gets no identity")
    tls: bool = Field(False, description="speak TLS to it and verify its certificate")
    tls_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    tls_name: str | None = Field(None, description="name in its certificate; default: the host of `address`")
    timeout: Duration = Field(0.0, description="longest time for a whole response; 0s: Airflow streams logs and waits")
    health_path: str | None = Field(None, description="path of its health check; without one: no active check")
    base_path: str | None = Field(
        None, description="path that Airflow is served under, as in its `base_url`: `/airflow`"
    )
    narrows_dags: bool = Field(
        False,
        description="an Airflow with `AuthzAuthManager`, which keeps to the DAGs that the rules name",
    )

    @model_validator(mode="after")
    def _tls_is_on(self) -> Self:
        if not self.tls:
            needs_tls(self, "tls_ca", "tls_name")
        return self


LoginUrl = Annotated[str, AfterValidator(login_plan.url)]
LoginPath = Annotated[str, AfterValidator(login_plan.plain_path)]
Scope = Annotated[str, AfterValidator(login_plan.scope)]
Parameter = Annotated[str, AfterValidator(login_plan.parameter)]


class Login(Section):
    """People log in at Envoy with a browser."""

    public_url: Annotated[str, AfterValidator(login_plan.origin)] = Field(
        description="the origin that browsers see, `https://airflow.example.com`"
    )
    issuer: LoginUrl | None = Field(
        None, description="the OpenID provider; asked when rendering for what is not written"
    )
    authorization_endpoint: LoginUrl | None = Field(None, description="instead of what the issuer says")
    token_endpoint: LoginUrl | None = Field(None, description="instead of what the issuer says")
    end_session_endpoint: Annotated[str, AfterValidator(login_plan.end_of_sessions)] | None = Field(
        None, description="instead of what the issuer says; `''`: none"
    )
    client_id: Annotated[str, AfterValidator(login_plan.client_id)] = Field(
        description="our client at the provider, with redirect URI `public_url` + `callback_path`"
    )
    client_secret_file: SecretFile = Field(description="the client's secret, and nothing else: no newline")
    cookie_secret_file: SecretFile = Field(
        "cookie.secret", description="signs and encrypts the session cookies; made when missing"
    )
    client_auth: Literal["post", "basic"] | None = Field(
        None, description="how the token endpoint wants the secret; default: what the issuer says, else `post`"
    )
    scopes: tuple[Scope, ...] = Field(
        ("openid", "profile"), description="scopes that are asked for; `openid` among them"
    )
    parameters: tuple[Parameter, ...] = Field(
        (), description="more words of the authorization request, encoded: `audience=airflow`"
    )
    callback_path: LoginPath = Field("/oauth2/callback", description="where the provider sends people back to")
    signout_path: LoginPath = Field("/oauth2/signout", description="ends the session here and at the provider")
    provider_ca: Authority | None = Field(
        None, description="authority of the provider's certificate; default: the system's"
    )
    keep_id_token: bool = Field(
        False, description="keep the ID token in a cookie, for providers that want it back at sign-out"
    )
    split_cookies: bool = Field(
        False, description="keep a token too large for one cookie in several; an Envoy before 1.40 does not start"
    )

    @model_validator(mode="after")
    def _endpoints_are_known(self) -> Self:
        if self.issuer is None and not (self.authorization_endpoint and self.token_endpoint):
            raise ValueError("name the `issuer`, or both `authorization_endpoint` and `token_endpoint`")
        written = self.authorization_endpoint and self.token_endpoint and self.client_auth
        if self.issuer and written and self.end_session_endpoint is not None:
            raise ValueError(
                "`issuer` has no effect beside `authorization_endpoint`, `token_endpoint`, `end_session_endpoint` and"
                " `client_auth`, which is all that it is asked for: leave it out"
            )
        return self


class Inbound(Section):
    """Envoy's listener in front of Airflow."""

    listen: Address = Field("127.0.0.1:8080", description="address of the listener")
    tls: Tls | None = Field(None, description="certificate of the listener; read again when a new one is moved there")
    login: Login | None = Field(None, description="people log in with a browser")
    upstreams: tuple[Upstream, ...] = Field(min_length=1, description="the Airflows behind it")


class Destination(Section):
    """One service that tasks call."""

    name: str = Field(pattern=f"^{SERVICE_NAME}$", description="its name, in rules (`destinations`), logs and metrics")
    address: Address = Field(description="host:port of the service")
    hosts: tuple[str, ...] = Field(
        min_length=1, description="Host values that lead to it: names, or `*.suffix` for all below one"
    )
    audience: str | None = Field(None, description="`aud` of its assertions; without one it gets no identity")
    tls: bool = Field(False, description="speak TLS to it and verify its certificate")
    tls_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    tls_name: str | None = Field(None, description="name in its certificate; default: the Host of each request")
    timeout: Duration = Field(30.0, description="longest time for a whole response; 0s: as long as something moves")
    health_path: str | None = Field(None, description="path of its health check; without one: no active check")
    keep_authorization: bool = Field(
        False, description="the task's own `Authorization` goes there, if `X-Run-Identity` says who calls"
    )
    credential: Credential | None = Field(None, description="what Envoy adds to every call, and no task ever holds")
    insecure_credential: bool = Field(False, description="allow a `credential` without `tls` beyond this machine")
    limits: DestinationLimits = Field(DestinationLimits(), description="what it may take, when it counts as broken")
    listen: Address | None = Field(
        None, description="a base URL, `http://127.0.0.1:9101`: all that comes to this address is for the first host"
    )
    path: str | None = Field(
        None, description="a base URL at `egress.listen`: `/orders`; what is below it is for the first host"
    )
    tunnel: bool = Field(
        False, description="let proxy clients CONNECT to its hosts, on the port of `address`; paths are not visible"
    )

    @model_validator(mode="after")
    def _credential_is_safe(self) -> Self:
        if self.credential is not None:
            safe = self.tls or self.insecure_credential or is_loopback(self.address)
            check_credential(self.name, safe=safe, keep_authorization=self.keep_authorization, tunnel=self.tunnel)
        return self

    @model_validator(mode="after")
    def _tls_is_on(self) -> Self:
        if not self.tls:
            needs_tls(self, "tls_ca", "tls_name")
        return self


class Dynamic(Section):
    """Any other host that the rules allow, at public addresses only."""

    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        (443, 80), min_length=1, max_length=8, description="ports; 80 is plain HTTP, Envoy speaks TLS on all others"
    )
    ca: Authority | None = Field(None, description="authority of the certificates, PEM; default: the system's")
    resolvers: tuple[Address, ...] = Field((), description="DNS servers, `ip:port`; default: the system's")


class Egress(Section):
    """Envoy's listener for calls by tasks."""

    listen: Address = Field(
        "127.0.0.1:8090", description="address of the listener; also a forward proxy (`http_proxy`, `https_proxy`)"
    )
    destinations: tuple[Destination, ...] = Field((), description="what tasks can be let through to, chosen by Host")
    dynamic: Dynamic | None = Field(
        None, description="any other host that the rules allow; without it there is none. Needs Envoy 1.39"
    )


class Execution(Section):
    """Envoy's listener for workers, in front of Airflow's execution API."""

    listen: Address = Field(
        "127.0.0.1:8091", description="address of the listener: workers' `execution_api_server_url`"
    )
    address: Address = Field(description="host:port of Airflow's API server")
    tls: bool = Field(False, description="speak TLS to it and verify its certificate")
    tls_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    tls_name: str | None = Field(None, description="name in its certificate; default: the host of `address`")

    @model_validator(mode="after")
    def _tls_is_on(self) -> Self:
        if not self.tls:
            needs_tls(self, "tls_ca", "tls_name")
        return self


class Envoy(Section):
    """What `authz envoy` renders."""

    inbound: Inbound | None = Field(None, description="the listener in front of Airflow")
    egress: Egress | None = Field(None, description="the listener for the calls of tasks")
    execution: Execution | None = Field(None, description="the listener for workers")
    admin: Address = Field("127.0.0.1:9901", description="Envoy's admin interface; loopback only")
    authz_timeout: Duration = Field(3.0, description="Envoy's deadline for one check")
    authz_tls_ca: Authority | None = Field(None, description="authority of our server's certificate, when `tls` is set")
    authz_tls_name: str = Field("localhost", description="name in our server's certificate, when `tls` is set")
    authz_tls_certificate: Certificate | None = Field(
        None, description="Envoy's own certificate towards us, PEM; needed when `tls.client_ca` is set"
    )
    authz_tls_key: SecretFile | None = Field(
        None, description="its private key, PEM; both are read again when moved there"
    )
    access_log: WrittenFile = Field("", description="Envoy's access log, a file; default: its standard output")
    sds: Folder = Field(
        "sds",
        description="folder where `authz envoy` writes which files hold Envoy's certificate and secrets;"
        " `''` without a login: the certificate is read at start only",
    )

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.authz_tls_certificate is None) != (self.authz_tls_key is None):
            raise ValueError("`authz_tls_certificate` and `authz_tls_key` belong together: give both, or none")
        return self
