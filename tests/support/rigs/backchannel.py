"""A back channel on a real socket, with a clock, keys and a revoker that the test sets."""

import http.client

from authz.core.revocation import Revoked
from authz.ops.http_server import SmallServer
from authz.sessions.backchannel import MOST_BODY, Backchannel
from tests.support.factories.tokens import NOW, logout_claims, make_key, sign
from tests.support.rigs.service import KEY, load, state_of
from tests.support.simulators.idp import PATIENCE_S, SimClock

NEXT = make_key("ES256", kid="k2")
THIEF = make_key("ES256", kid="k1 of a thief")


class Rig:
    """A back channel on a clock, keys and a revoker that the test sets."""

    def __init__(self):
        self.clock = SimClock()
        self.policy = load()
        self.keys = {"corp": state_of(KEY)}
        self.arriving = None  # what a fetch brings
        self.asked = []
        self.hanging = None  # a queue of what ends the fetches that otherwise never do
        self.revoked = Revoked(b"k" * 32)
        self.attempts, self.subjects = [], []
        self.fails = False
        judge = Backchannel(
            policy=lambda: self.policy,
            keys=lambda: self.keys,
            want_key=self._want_key,
            revoke=self._revoke,
            clients=frozenset({"gate"}),
            keep=7200.0,
            clock=self.clock,
        )
        self.server = SmallServer("127.0.0.1:0", judge.answer, most_body=MOST_BODY, name="backchannel")

    def _want_key(self, issuer, kid, done):
        self.asked.append((issuer, kid))
        if self.hanging is not None:
            self.hanging.put(done)
            return True
        if self.arriving is None:
            return False
        self.keys = self.arriving
        done()
        return True

    def _revoke(self, attempt, done):
        if self.fails == "bug":
            raise RuntimeError("canary")
        self.attempts.append(attempt.revocation)
        self.subjects.append(attempt.subject)
        return False if self.fails else self.revoked.revoke(attempt, done)

    def post(
        self, body, *, method="POST", content_type="application/x-www-form-urlencoded", sender="127.0.0.1", **headers
    ):
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=PATIENCE_S, source_address=(sender, 0)
        )
        try:
            connection.request(method, "/", body, {"Content-Type": content_type, **headers})
            answer = connection.getresponse()
            assert answer.getheader("Cache-Control") == "no-store"
            return answer.status, answer.read()
        finally:
            connection.close()

    def tell(self, key=KEY, typ="logout+jwt", sender="127.0.0.1", client="", **changes):
        claims = logout_claims(**{"iat": NOW, "exp": NOW + 60, "jti": "l-1", "aud": "gate", **changes})
        headers = {"X-Forwarded-For": client} if client else {}
        return self.post(f"logout_token={sign(claims, key, {'typ': typ})}", sender=sender, **headers)[0]
