"""The task side of an outbound call: a run identity token, a proof for every call, an Airflow that knows the run."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from authz.core import assertion
from authz.core.model import Level, Run
from authz.core.runs import run_token
from bench import checks, rulebook
from tests.support.factories.tokens import b64, dump, sign
from tests.support.factories.tokens import make_key as factory_key

GATE = "https://gate.bench.test"
_LAST = "0123456789ab"
_INSTANCE = f"0199aa1b-6c1f-7d2e-8f00-{_LAST}"
_RUN = Run(rulebook.DAG, "scheduled__2026-01-01T00:00:00+00:00", "extract", -1, 1, Level.VERIFIED)
_URL = f"http://{rulebook.ORDERS}{rulebook.ORDERS_PATH}"


def make_key(path):
    """The gate's signing key, there before the gate is: tokens are minted here, without asking it."""
    path.touch(mode=0o600)
    path.write_bytes(assertion.generate_pem())


class Task:
    """One task instance, at work: it holds a key, and a token that is bound to it."""

    def __init__(self, folder):
        self._gate_key = assertion.load_signing_key((folder / "assertion.pem").read_bytes())
        self._key = factory_key("ES256", kid="bench task", named_alg=False)
        jwk = {name: self._key.jwk[name] for name in ("crv", "kty", "x", "y")}
        self._thumbprint = b64(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())
        self._header = dump({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk})

    def token(self, thumbprint=..., instance=_INSTANCE):
        """A token from now on; bound to our key unless another thumbprint, or None, is given."""
        return run_token.mint(
            _RUN,
            instance=instance,
            thumbprint=self._thumbprint if thumbprint is ... else thumbprint,
            issuer=GATE,
            audience=run_token.audience(GATE),
            now=int(time.time()),
            jti="bench",
            key=self._gate_key,
        )

    def proven(self, serials):
        """One framed call for each serial, each with a proof of its own and all with one token."""
        first, *rest = self.headers(serials)
        template, old = checks.framed(checks.outbound(first.items())), first["x-run-proof"].encode()
        yield template
        for headers in rest:
            new = headers["x-run-proof"].encode()
            if len(new) != len(old):
                raise ValueError("proofs of one key must have one length")
            yield template.replace(old, new)

    def headers(self, serials):
        """The headers of one call for each serial."""
        token = self.token()
        return [{"x-run-identity": f"DPoP {token}", "x-run-proof": self._proof(token, number)} for number in serials]

    def borne(self, last=_LAST):
        """The framed call of a task that knows proxy variables only; `last` is the last part of its instance's id."""
        return checks.framed(checks.outbound(self.proxy_headers(last).items()))

    def proxy_headers(self, last=_LAST):
        """The headers of its calls."""
        return {"proxy-authorization": f"Bearer {self.token(None, _INSTANCE.removesuffix(_LAST) + last)}"}

    def _proof(self, token, serial):
        claims = {
            "jti": f"bench-{serial:012}",
            "htm": "GET",
            "htu": _URL,
            "iat": int(time.time()),
            "ath": b64(hashlib.sha256(token.encode()).digest()),
        }
        return sign(claims, self._key, self._header)


class Airflow:
    """An API server that knows one task instance, which runs."""

    def __init__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = dump(
            {
                "id": _INSTANCE,
                "dag_id": _RUN.dag_id,
                "dag_run_id": _RUN.run_id,
                "task_id": _RUN.task_id,
                "map_index": _RUN.map_index,
                "try_number": _RUN.try_number,
                "state": "running",
            }
        )
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
