"""Tokens and CheckRequests as Envoy sends them.

A request is encoded once by an independent encoder with every field that Envoy 1.40 fills in. Further tokens of the
same length take the place of the first in its bytes.
"""

import struct
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from envoy_data_plane.envoy.config.core.v3 import Address, HeaderMap, HeaderValue, SocketAddress
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextPeer,
    AttributeContextRequest,
    CheckRequest,
)
from jwt.algorithms import get_default_algorithms

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from bench import rulebook
from bench.rulebook import ALLOWED, AUDIENCE, GROUP, ISSUER
from tests.support.factories.tokens import FactoryKey, access_claims, jwks_of, sign

_MAKE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_LIFE_S = 7_000  # below the policy's max_lifetime: a full run may take an hour


def keys(folder):
    """One key for each algorithm, kept in the folder from run to run, so that a peer can be given `jwks.json` once."""
    made = {}
    for alg, make in _MAKE.items():
        path = Path(folder) / f"{alg}.pem"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_bytes(make().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private = load_pem_private_key(path.read_bytes(), None)
        jwk = get_default_algorithms()[alg].to_jwk(private.public_key(), as_dict=True)
        jwk = {name: value for name, value in jwk.items() if name != "key_ops"} | {"kid": alg, "alg": alg, "use": "sig"}
        made[alg] = FactoryKey(kid=alg, alg=alg, private=private, jwk=jwk)
    (Path(folder) / "jwks.json").write_bytes(jwks_of(made.values()))
    return made


def service_headers(key):
    """The headers of calls by a service account."""
    now = int(time.time())
    aud = rulebook.EGRESS_AUDIENCE
    claims = access_claims(iss=ISSUER, aud=aud, client_id=rulebook.CLIENT, iat=now - 60, exp=now + _LIFE_S)
    return {"authorization": f"Bearer {sign(claims, key)}"}


def token(key, serial=0):
    """Tokens of one key have the same length, whatever their serial."""
    now = int(time.time())
    claims = access_claims(
        iss=ISSUER,
        aud=AUDIENCE,
        sub=f"u-{serial:09}",
        jti=f"t-{serial:09}",
        iat=now - 60,
        exp=now + _LIFE_S,
        groups=["everyone", GROUP, "oncall"],
        realm_access=None,
    )
    return sign(claims, key)


_FIRST = (
    (":authority", "airflow.example.com"),
    (":method", "GET"),
    (":scheme", "https"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "application/json"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://airflow.example.com/dags/sales_daily"),
    ("sec-fetch-mode", "cors"),
    ("x-forwarded-for", "10.20.30.40"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "2f1c7cf4-6f07-4d9b-9a1e-0d1b7f0f5a11"),
)

# What Envoy shows of a call that a task makes with `requests`, with nothing else in it.
_TASK = (
    (":authority", rulebook.ORDERS),
    (":method", "GET"),
    (":path", rulebook.ORDERS_PATH),
    (":scheme", "http"),
    ("accept", "*/*"),
)


def request(bearer, *, target=ALLOWED, headers=14, audience=AUDIENCE):
    """The serialised CheckRequest with that many headers, pseudo-headers included.

    With an `audience` we sign an assertion for the upstream; without one we need not.
    """
    lines = _request(bearer, target, headers)
    return _message(lines, {"plane": "inbound"} | ({"audience": audience} if audience else {}))


def headers(bearer):
    """The headers of the usual request, for those who ask about it over HTTP."""
    return {name: value for name, value in _request(bearer, ALLOWED, 14) if not name.startswith(":")}


def _request(bearer, target, headers):
    lines = [*_FIRST, (":path", target), ("authorization", f"Bearer {bearer}")]
    return lines + [
        (f"x-tracing-baggage-{number}", f"value-{number:04}-of-some-proxy") for number in range(headers - len(lines))
    ]


def anonymous(target):
    """The serialised CheckRequest of a caller without credentials."""
    return _message([*_FIRST, (":path", target)], {"plane": "inbound", "audience": AUDIENCE})


def outbound(credentials):
    """The serialised CheckRequest of a task's call, with these pairs of header name and value."""
    return _message([*_TASK, *credentials], {"plane": "egress"})


def _message(lines, extensions):
    told = dict(lines)
    header_map = HeaderMap(headers=[HeaderValue(key=key, raw_value=value.encode()) for key, value in sorted(lines)])
    http = AttributeContextHttpRequest(
        id="8133546216347822312",
        method="GET",
        path=told[":path"],
        host=told[":authority"],
        scheme=told[":scheme"],
        protocol="HTTP/1.1",
        header_map=header_map,
    )
    context = AttributeContext(
        source=_peer("10.20.30.40", 51234),
        destination=_peer("10.0.0.5", 8443),
        request=AttributeContextRequest(time=datetime.now(tz=UTC), http=http),
        context_extensions=extensions,
    )
    return bytes(CheckRequest(attributes=context))


def _peer(host, port):
    return AttributeContextPeer(address=Address(socket_address=SocketAddress(address=host, port_value=port)))


def framed(message):
    """The body of a unary gRPC call: not compressed, length, message."""
    return b"\0" + struct.pack(">I", len(message)) + message


def fresh_bodies(key, serials, *, audience=""):
    """One framed request for each serial, each with a token of its own."""
    first = token(key, 0)
    template = framed(request(first, audience=audience))
    old = first.encode()
    for serial in serials:
        new = token(key, serial).encode()
        if len(new) != len(old):
            raise ValueError("tokens of one key must have one length")
        yield template.replace(old, new)


def allows(answer):
    """Whether a serialised CheckResponse lets the request through."""
    response = pb.CheckResponse.FromString(answer)
    return response.status.code == 0 and not response.HasField("denied_response")
