"""What somebody can do who runs code in a task, or has stolen what a task had. Airflow's tasks load this file too.

Nothing here is the product's: tokens are asked for, and proofs made, by hand, so that they can be wrong in every way.
"""

import base64
import gc
import getpass
import hashlib
import http.client
import json
import os
import re
import socket
import time
import uuid
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

TIMEOUT_S = 60
A_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def dump(value):
    return json.dumps(value, separators=(",", ":")).encode()


def header_of(token):
    return _part(token, 0)


def claims_of(token):
    return _part(token, 1)


def _part(token, number):
    text = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


class Key:
    """A key of the attacker's own, and what it can sign."""

    def __init__(self):
        self._private = ec.generate_private_key(ec.SECP256R1())
        numbers = self._private.public_key().public_numbers()
        x, y = (b64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        self.jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        self.thumbprint = b64(hashlib.sha256(dump(self.jwk)).digest())

    def proof(self, token, method, url, **changes):
        """A proof for one call; changes go to its claims."""
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk}
        claims = {
            "jti": uuid.uuid4().hex,
            "htm": method,
            "htu": url,
            "iat": int(time.time()),
            "ath": b64(hashlib.sha256(token.encode()).digest()),
            **changes,
        }
        return self.sign(header, claims)

    def sign(self, header, claims):
        said = f"{b64(dump(header))}.{b64(dump(claims))}"
        r, s = decode_dss_signature(self._private.sign(said.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{said}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def call(url, method="GET", headers=(), *, body=None, via=None):
    """One HTTP call: status, headers, text. `via` is a proxy that gets the URL as it is."""
    parts = urlsplit(url)
    host, port = via or (parts.hostname, parts.port or 80)
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        target = url if via else (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", parts.netloc)
        data = b"" if body is None else dump(body)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def tuple_of(instance):
    """What a task says of itself when it asks for a token."""
    return {
        "d": instance.dag_id,
        "r": instance.run_id,
        "t": instance.task_id,
        "m": instance.map_index,
        "n": instance.try_number,
    }


def ask(execution, bearer, holder, said):
    """Ask the gate for a run identity token, as a supervisor does: status, and the JSON of the answer."""
    url = f"{execution.rstrip('/')}/variables/__run_identity__/v1/{holder}/{b64(dump(said))}"
    status, _, text = call(url, headers=[("Authorization", f"Bearer {bearer}")])
    answer = json.loads(text)
    return status, json.loads(answer["value"]) if status == 200 else answer


def bound(token, key, method, url, **changes):
    """The two headers of a call with a bound token."""
    return [("X-Run-Identity", f"DPoP {token}"), ("X-Run-Proof", key.proof(token, method, url, **changes))]


def forge(file, **claims):
    """A task token, made with the private key in a file. It takes being able to read that."""
    with open(file, "rb") as key:  # noqa: PTH123 as short as an attacker has it
        private = load_pem_private_key(key.read(), None)
    now = int(time.time())
    header = {"alg": "EdDSA", "kid": "tasks-1", "typ": "JWT"}
    body = {"jti": uuid.uuid4().hex, "iat": now, "nbf": now, "exp": now + 600, "scope": "execution", **claims}
    said = f"{b64(dump(header))}.{b64(dump(body))}"
    return f"{said}.{b64(private.sign(said.encode()))}"


def own_workload_token(instance_id):
    """The token that the supervisor was started with: the task is a fork of it, and has its memory."""
    for text in (text for one in gc.get_objects() if type(one) is dict for text in tuple(one.values())):
        for found in A_TOKEN.findall(text) if type(text) is str else ():
            if claims_of(found).get("sub") == instance_id:
                return found
    return None


def execution_token(execution, workload, instance_id, *, pid=None, hostname=None, unixname=None):
    """What Airflow gives for a workload token: the answer to a start that says to be a repeated one."""
    said = {
        "state": "running",
        "hostname": hostname or socket.gethostname(),
        "unixname": unixname or getpass.getuser(),
        "pid": pid or os.getpid(),
        "start_date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    url = f"{execution.rstrip('/')}/task-instances/{instance_id}/run"
    status, headers, text = call(url, "PATCH", [("Authorization", f"Bearer {workload}")], body=said)
    return status, headers.get("refreshed-api-token"), text
