"""A real `Service` with everything real around it but the clock, the sink and the keys' origin. Test support.

rig = Rig()
answer = rig.check("GET", "/api/v2/dags", token=rig.token())
assert (answer.http, answer.reason) == (200, "rule")

Messages are encoded, and answers decoded, by envoy-data-plane: an implementation that is not ours.
"""

import threading
from dataclasses import dataclass

from envoy_data_plane.envoy.config.core.v3 import Address, HeaderMap, HeaderValue, SocketAddress
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextPeer,
    AttributeContextRequest,
    CheckRequest,
    CheckResponse,
)

from authz.authn.sessions import Authenticator
from authz.check.assertions import AssertionMinter
from authz.check.parts import Snapshot
from authz.check.recorder import Recorder
from authz.check.service import Service
from authz.core import assertion, policy
from authz.core.jose import jwks
from authz.core.parked import Parked
from authz.keys import KeyState
from tests.support.factories.tokens import ISS, access_claims, jwks_of, make_key, sign
from tests.support.simulators.idp import PATIENCE_S, MemorySink, SimClock

KEY = make_key("ES256", kid="k1")
SIGNING_KEY = assertion.load_signing_key(assertion.generate_pem())

POLICY = f"""
version: 1
issuers:
  - name: corp
    issuer: {ISS}
    audiences: {{inbound: [airflow], egress: [airflow-egress]}}
    algorithms: [RS256, ES256]
    max_lifetime: 1h
    username: preferred_username
    groups: [groups, realm_access.roles]
roles:
  viewer: {{groups: [data-readers]}}
  sales-etl: {{clients: [sales-etl]}}
  copilot: {{clients: [copilot], agent: true}}
rules:
  - {{id: health, public: true, plane: inbound, operations: ["health:read"]}}
  - {{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"]}}
  - {{id: copilot-writes, plane: inbound, roles: [copilot], operations: ["dags:*"]}}
  - {{id: orders, plane: egress, roles: [sales-etl], hosts: [orders.internal], methods: [GET], paths: ["/v1/orders"]}}
  - {{id: agents-never-delete, deny: true, roles: [copilot], methods: [DELETE]}}
"""


def load(text=POLICY):
    return policy.load(policy.Bundle(text.encode(), "policy.yaml"))


def state_of(*keys, stale_at=1e12, last_error="", previous=None):
    """What the key store would show for these keys."""
    keyset = jwks.parse(jwks_of(keys), previous) if keys else None
    return KeyState(issuer=ISS, keyset=keyset, fetched_at=0.0, stale_at=stale_at, last_error=last_error)


def message(
    method="GET",
    target="/api/v2/dags",
    *,
    headers=(),
    plane="inbound",
    audience="airflow-prod",
    host="gate.test",
    scheme="https",
    extensions=None,
    **told,
):
    """A serialised CheckRequest as Envoy sends it with `encode_raw_headers`; headers are pairs of text and bytes.

    `told` are more context extensions, and so are `extensions`, for those with the name of a parameter.
    """
    http = AttributeContextHttpRequest(
        id="1",
        method=method,
        path=target,
        host=host,
        scheme=scheme,
        header_map=HeaderMap(headers=[HeaderValue(key=name, raw_value=value) for name, value in headers]),
    )
    source = AttributeContextPeer(address=Address(socket_address=SocketAddress(address="192.0.2.7", port_value=1)))
    said = {"plane": plane, "audience": audience, **told, **(extensions or {})}
    extensions = {name: value for name, value in said.items() if value}
    request = AttributeContextRequest(http=http)
    return bytes(
        CheckRequest(attributes=AttributeContext(source=source, request=request, context_extensions=extensions))
    )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One CheckResponse, taken apart. `http` is 200 for an OK answer."""

    code: int
    http: int
    set: dict
    removed: frozenset
    body: str
    metadata: dict

    @property
    def allowed(self):
        return self.code == 0

    @property
    def reason(self):
        return self.metadata.get("reason")


def read(data):
    response = CheckResponse.parse(data)
    fields = response.dynamic_metadata.fields if response.dynamic_metadata else {}
    denied, ok = response.denied_response, response.ok_response
    options = denied.headers if denied else ok.headers if ok else []
    return Answer(
        code=response.status.code if response.status else 0,
        http=int(denied.status.code) if denied else 200,
        set={option.header.key: option.header.value for option in options},
        removed=frozenset(ok.headers_to_remove) if ok else frozenset(),
        body=denied.body if denied else "",
        metadata={name: value.string_value for name, value in fields.items()},
    )


class Rig:
    """A service on a clock, a sink and keys that the test sets. `parts` replace arguments of `Service`."""

    def __init__(self, text=POLICY, *, capacity=100, max_token_bytes=9999, revoked=None, granted=None, **parts):
        self.clock = SimClock()
        self.sink = MemorySink()
        self.observed = []
        self.lookups = []
        self.wanted = []  # issuer and id of each key that a check began to wait for
        self.policy = load(text)
        self.keys = {"corp": state_of(KEY)}
        self.minter = AssertionMinter([SIGNING_KEY], issuer="https://gate.test", lifetime=60)
        self.authenticator = Authenticator(
            capacity=capacity,
            max_token_bytes=max_token_bytes,
            count=self.lookups.append,
            revoked=revoked,
            granted=granted,
        )
        arguments = {
            "snapshot": lambda: Snapshot(policy=self.policy, keys=self.keys),
            "authenticator": self.authenticator,
            "minter": self.minter,
            "clock": self.clock,
            "recorder": Recorder(self.sink, gate="gate-1", worker=0),
            "observe": lambda *values: self.observed.append(values),
            "want_key": self._want_key,
        }
        self.service = Service(**{**arguments, **parts})

    def _want_key(self, issuer, key_id, _done):
        """A key store that fetches nothing: the test sets `keys`, and resumes."""
        self.wanted.append((issuer, key_id))
        return False

    def token(self, key=KEY, **changes):
        headers = changes.pop("headers", None)
        return sign(access_claims(**changes), key, headers)

    def ask(self, *request, token=None, headers=(), **parts):
        """The raw outcome: bytes, or Parked."""
        credentials = [("authorization", f"Bearer {token}".encode())] if token else []
        return self.service.check(message(*request, headers=[*credentials, *headers], **parts))

    def check(self, *request, **parts):
        return self.settle(self.ask(*request, **parts))

    def settle(self, outcome):
        """The answer, after a revocation where it waits for one."""
        if isinstance(outcome, Parked) and not outcome.counted:  # for a revocation, and not for a key
            done = threading.Event()
            if outcome.begin(done.set):
                assert done.wait(PATIENCE_S), "the revocation did not end"
            outcome = outcome.resume()
        assert not isinstance(outcome, Parked), "the check waits for a key"
        return read(outcome)

    @property
    def record(self):
        """The newest record."""
        return self.sink.records[-1]
