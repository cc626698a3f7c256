"""The operators' port with grants, on a real socket; the clock, the keys and the policy are the test's."""

import http.client
import json

from authz.authn.sessions import Authenticator
from authz.core.grants import Granted
from authz.core.revocation import Revoked
from authz.ops.admin import AdminServer, Readiness
from authz.ops.metrics import Metrics
from authz.sessions.granter import Granter
from authz.sessions.grants_port import GrantsPort
from tests.support.factories.tokens import access_claims, sign
from tests.support.rigs.service import KEY, POLICY, load, state_of
from tests.support.simulators.idp import PATIENCE_S, SimClock

TEXT = (
    POLICY.replace(
        "rules:\n",
        "  lead: {groups: [leads]}\n  editor: {}\nrules:\n",
    )
    + """
grantable:
  - {id: oncall, requesters: [viewer], approvers: [lead], longest: 3d, roles: [editor], description: Help}
  - {id: night, requesters: [authenticated], approvers: none, longest: 1h, roles: [editor]}
"""
)
TEXT = TEXT.replace(
    "  - {id: copilot-writes",
    '  - {id: edit, plane: inbound, roles: [editor], operations: ["pools:read"]}\n  - {id: copilot-writes',
)
ASK = {"entry": "oncall", "duration": "1h", "reason": "incident 4711"}


class Rig:
    """A port with a granter on a file."""

    def __init__(self, path, *, text=TEXT):
        self.path = path
        self.clock = SimClock()
        self.policy = load(text)
        self.keys = {"corp": state_of(KEY)}
        self.arriving = None  # what a fetch brings
        self.wanted = []
        self.counted = []
        self.revoked = Revoked(b"k" * 32)
        self.granted = Granted()
        self.granter = Granter(self.granted, path, self.clock)
        self.authenticator = Authenticator(
            capacity=100, max_token_bytes=9999, count=lambda _result: None, revoked=self.revoked
        )
        self.port = GrantsPort(
            granter=self.granter,
            policy=lambda: self.policy,
            authenticator=self.authenticator,
            keys=lambda: self.keys,
            want_key=self._want_key,
            clock=self.clock,
            count=lambda *values: self.counted.append(values),
        )
        self.server = AdminServer(
            "127.0.0.1:0", Metrics(), lambda: Readiness(ready=True), dict, grants={}.get, access=self.port.answer
        )

    def _want_key(self, issuer, kid, done):
        self.wanted.append((issuer, kid))
        if self.arriving is None:
            return False
        self.keys = self.arriving
        done()
        return True

    def token(self, subject="ana", *groups, key=KEY, headers=None, **changes):
        return sign(access_claims(**{"sub": subject, "groups": list(groups), "sid": None, **changes}), key, headers)

    def send(self, method, path, body=None, *, token=None, authorization=(), headers=(), sender="127.0.0.1"):
        """The status, the members and the headers of the answer. `body` is bytes, or what JSON is made of."""
        lines = [*authorization, *([f"Bearer {token}"] if token else [])]
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=PATIENCE_S, source_address=(sender, 0)
        )
        try:
            connection.putrequest(method, path)
            given = dict(headers)
            if data is not None:
                given = {"Content-Type": "application/json", "Content-Length": str(len(data)), **given}
            for name, value in (*given.items(), *(("Authorization", line) for line in lines)):
                connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers
        finally:
            connection.close()

    def post(self, path, body=None, **parts):
        status, members, _headers = self.send("POST", path, {} if body is None else body, **parts)
        return status, members

    def ask(self, subject="ana", *groups, **changes):
        """The id of a request."""
        status, members = self.post("/grants", ASK | changes, token=self.token(subject, *(groups or ["data-readers"])))
        assert status == 201, members
        return members["id"]

    def approve(self, name, subject="bo", *groups):
        return self.post(f"/grants/{name}/approve", token=self.token(subject, *(groups or ["leads"])))

    def end(self, name, subject="ana", *groups):
        return self.post(f"/grants/{name}/end", token=self.token(subject, *groups))

    def list(self, subject="ana", *groups):
        status, members, _headers = self.send("GET", "/grants", token=self.token(subject, *groups))
        assert status == 200, members
        return members

    def held(self, subject="ana"):
        issuer = next(iter(self.policy.issuers))
        held = self.granted.held(issuer, subject, self.clock.wall())
        return [one.entry for one in held if self.policy.permits(one)]
