"""The gate and the worker's execution API, for tests of what runs in a task: real sockets, real tokens, real proofs.

with EgressSimulator() as site:
    site.url                       the base URL of a destination at the gate; also a forward proxy
    site.execution                 what workers take for Airflow's execution API
    site.exchange = (503, {...})   what asking for an identity is answered; None: with a token
    site.retire()                  the gate refuses all tokens that it has made until now
    site.answers["/busy"] = [...]  what the destination answers, one after another; the last one stays
    site.denied["/secret"] = "deny_rule"
    site.passed                    what the destination saw; site.refused: (path, reason) of what it did not see

It judges as the gate does, with the gate's own `run_token` and `proof`; levels and policy are not its affair.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import select
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import jwt

from authz.core.assertion import generate_pem, load_signing_key
from authz.core.errors import DeniedError
from authz.core.model import Level, Run
from authz.core.runs import run_request, run_token
from authz.core.runs.proof import check_proof, parse_proof

ISSUER = "https://gate.test"
AUDIENCE = run_token.audience(ISSUER)
KEY = load_signing_key(generate_pem())
IDENTITY_HEADERS = ("x-run-identity", "x-run-proof", "proxy-authorization")
TASK_TOKEN = "the-tasks-own-airflow-token"


class Passed(NamedTuple):
    """A call that the destination got: with what level, and what it was not shown."""

    method: str
    path: str
    level: str
    task: str
    headers: dict
    body: bytes


class EgressSimulator(contextlib.AbstractContextManager):
    def __init__(self):
        self.exchange = None
        self.lives_s = None
        self.delay_s = 0.0
        self.instance = str(uuid.uuid4())
        self.asked = []  # run requests, in order
        self.passed = []
        self.refused = []
        self.tunnels = []
        self.answers = {}
        self.denied = {}
        self.seen_proofs = set()
        self.tokens = []
        self.retired = set()
        self.accounts = {}  # tokens of service accounts, and the thumbprint that each is bound to, or None
        self.token_requests = []
        self.connections = {}
        self.states = {}  # by the id of the task instance
        self.started = {}  # task ids by the same
        self.rendered = []
        self.xcoms = []
        self.next_kwargs = None
        self.lock = threading.Lock()

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"site": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.authority = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.authority}"
        self.execution = f"{self.url}/execution/"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def retire(self):
        self.retired.update(self.tokens)

    def states_of(self, task):
        """What the supervisor told Airflow about the task, in order."""
        return [state for instance, name in self.started.items() if name == task for state in self.states[instance]]

    def paths(self):
        return [call.path for call in self.passed]

    def issue(self, target):
        """The status and the body for a task that asks for an identity."""
        asked = run_request.parse(target)
        with self.lock:
            self.asked.append(asked)
        if self.exchange is not None:
            return self.exchange
        run = Run(asked.dag_id, asked.run_id, asked.task_id, asked.map_index, asked.try_number or 1, Level.VERIFIED)
        token = run_token.mint(
            run,
            instance=self.instance,
            thumbprint=None if asked.proxy else asked.thumbprint,
            issuer=ISSUER,
            audience=AUDIENCE,
            now=int(time.time()),
            jti=uuid.uuid4().hex,
            key=KEY,
        )
        self.tokens.append(token)
        lives_s = self.lives_s or (300 if asked.proxy else 120)
        level = "verified-bearer" if asked.proxy else "verified"
        value = json.dumps({"token": token, "expires_in": lives_s, "level": level})
        return 200, {"key": asked.key, "value": value}

    def judge(self, method, authority, path, headers):
        """The run and the level of a call, or DeniedError/LookupError."""
        carried = headers.get("x-run-identity")
        if carried is None:
            token, level = _bearer(headers.get("proxy-authorization")), "verified-bearer"
        else:
            token, level = carried.partition(" ")[2], "verified"
        if token in self.retired:
            raise LookupError("revoked")
        if token in self.accounts:
            return self._asserted(token, method, authority, path, headers)
        found = run_token.verify(token, run_token.public_keys([KEY]), issuer=ISSUER, audience=AUDIENCE, now=time.time())
        if (found.thumbprint is None) != (level == "verified-bearer"):
            raise LookupError("bound token as bearer, or the reverse")
        if found.thumbprint is not None:
            proof = parse_proof(headers.get("x-run-proof", "").encode())
            check_proof(
                proof,
                token=token,
                thumbprint=found.thumbprint,
                method=method,
                authority=authority,
                path=path,
                now=time.time(),
            )
            with self.lock:
                if headers["x-run-proof"] in self.seen_proofs:
                    raise LookupError("replayed")
                self.seen_proofs.add(headers["x-run-proof"])
        return f"{found.run.dag_id}.{found.run.task_id}", level

    def _asserted(self, token, method, authority, path, headers):
        """A token of an issuer's, whose proof says which run it is."""
        if "x-run-proof" not in headers:
            return "", "service account"
        proof = parse_proof(headers["x-run-proof"].encode())
        bound = self.accounts[token]
        check_proof(
            proof, token=token, thumbprint=bound, method=method, authority=authority, path=path, now=time.time()
        )
        if headers["x-run-identity"] != f"{'DPoP' if bound else 'Bearer'} {token}" or proof.run is None:
            raise LookupError("wrong scheme, or no run")
        return f"{proof.run.dag_id}.{proof.run.task_id}", str(proof.run.level)


def parse_proof_of_request(line):
    return {**jwt.decode(line, options={"verify_signature": False}), "jwk": jwt.get_unverified_header(line)["jwk"]}


def _bearer(line):
    scheme, _space, credential = (line or "").partition(" ")
    if scheme == "Bearer":
        return credential
    if scheme == "Basic":
        return base64.b64decode(credential).decode().partition(":")[2]
    raise LookupError("no_token")


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: EgressSimulator

    def log_message(self, *_):
        pass

    def _any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.startswith("/execution/"):
            self._execution(body)
        elif self.path == "/provider/token":
            self._provider(body)
        else:
            self._egress(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _any  # noqa: N815 the names that the base calls

    def _say(self, status, body=b"", headers=()):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if body != b"" and not isinstance(body, bytes):
            self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    # --- the gate in front of a destination

    def _egress(self, body):
        site = self.site
        url = urlsplit(self.path)
        authority = url.netloc or self.headers["host"]
        headers = {name.lower(): value for name, value in self.headers.items()}
        decision = uuid.uuid4().hex
        try:
            task, level = site.judge(self.command, authority, url.path, headers)
        except (DeniedError, LookupError) as error:
            site.refused.append((url.path, str(getattr(error, "reason", error))))
            self._deny(401, "no_token" if "no_token" in str(error) else "invalid_token", decision)
            return
        if url.path in site.denied:
            site.refused.append((url.path, site.denied[url.path]))
            self._deny(403, site.denied[url.path], decision)
            return
        shown = {name: value for name, value in headers.items() if name not in IDENTITY_HEADERS}
        site.passed.append(Passed(self.command, url.path, level, task, shown, body))
        waiting = site.answers.get(url.path, [(200, (), {"ok": True})])
        status, more, content = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        self._say(status, content, [("x-authz-decision", decision), *more])

    def _deny(self, status, error, decision):
        told = {"error": error, "message": f"Not allowed: {error}.", "decision_id": decision}
        self._say(status, told, [("x-authz-decision", decision)])

    def do_CONNECT(self):
        try:
            task, level = self.site.judge(
                "CONNECT", self.path, "", {"proxy-authorization": self.headers.get("proxy-authorization")}
            )
        except (DeniedError, LookupError) as error:
            self.site.refused.append((self.path, str(error)))
            self._deny(401, "no_token", uuid.uuid4().hex)
            return
        self.site.tunnels.append((self.path, level, task))
        host, port = self.path.split(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            _relay(self.connection, there)
        self.close_connection = True

    # --- the provider of service accounts

    def _provider(self, body):
        site = self.site
        form = dict(part.split("=") for part in body.decode().split("&"))
        if self.headers["authorization"] != "Basic " + base64.b64encode(b"triggerer:pa55").decode():
            self._say(401, {"error": "invalid_client"})
            return
        proof = parse_proof_of_request(self.headers["dpop"])
        site.token_requests.append((form, proof["htm"], proof["htu"]))
        key = jwt.PyJWK({**proof["jwk"], "alg": "ES256"})
        jwt.decode(self.headers["dpop"], key, algorithms=["ES256"], options={"verify_aud": False})
        bound = {name: proof["jwk"][name] for name in ("crv", "kty", "x", "y")}
        digest = hashlib.sha256(json.dumps(bound, separators=(",", ":"), sort_keys=True).encode()).digest()
        token = f"a{len(site.accounts)}.b.c{uuid.uuid4().hex}"
        site.accounts[token] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        self._say(200, {"access_token": token, "token_type": "DPoP", "expires_in": 600})

    # --- what workers take for Airflow

    def _execution(self, body):
        site = self.site
        if self.headers.get("authorization") != f"Bearer {TASK_TOKEN}":
            self._say(403, {"detail": "not the task's token"})
            return
        path = self.path.removeprefix("/execution")
        if self.path.startswith(run_request.PREFIX):
            time.sleep(site.delay_s)
            status, told = site.issue(self.path)
            self._say(status, told)
        elif path.startswith("/connections/"):
            found = site.connections.get(path.rpartition("/")[2])
            self._say(200, found) if found else self._say(404, {"detail": {"reason": "not_found"}})
        elif path.endswith("/run"):
            self._say(200, _context(site, self.headers["airflow-api-version"]))
        elif path.endswith("/state"):
            site.states.setdefault(path.split("/")[2], []).append(json.loads(body))
            self._say(204)
        elif path.endswith("/rtif"):
            site.rendered.append(body.decode())
            self._say(201, {"message": "stored"})
        elif path.startswith("/xcoms/") and self.command == "POST":
            site.xcoms.append(body.decode())
            self._say(201, {"message": "stored"})
        elif path.startswith("/variables/"):
            self._say(404, {"detail": {"reason": "not_found"}})
        else:
            self._say(204)


def _context(site, version):
    now = datetime.now(tz=UTC).isoformat()
    run = {
        "dag_id": site.dag_id,
        "run_id": "manual__1",
        "logical_date": now,
        "data_interval_start": now,
        "data_interval_end": now,
        "run_after": now,
        "start_date": now,
        "end_date": None,
        "run_type": "manual",
        "state": "running",
        "consumed_asset_events": [],
    }
    if version >= "2026":  # as of Airflow 3.2
        run["partition_key"] = None
    context = {
        "dag_run": run,
        "max_tries": 1,
        "should_retry": True,
        "task_reschedule_count": 0,
        "xcom_keys_to_clear": [],
    }
    return {**context, **(site.next_kwargs or {})}


def _relay(one, other):
    """Bytes both ways until one side has nothing more to say."""
    pairs = {one: other, other: one}
    while True:
        for ready in select.select(list(pairs), [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            pairs[ready].sendall(data)
