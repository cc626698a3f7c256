"""A provider's token, device and revocation endpoints on a loopback port, whose answers a test writes.

with ScriptedProvider() as provider:
    provider.say("/token", {"error": "slow_down"}, status=400)      answers in this order; the last one stays
    provider.forms("/token")                                        what was posted there
"""

import json
from urllib.parse import parse_qsl

from tests.support.factories.tokens import jwks_of, make_key, sign
from tests.support.simulators.idp import LoopbackServer, _IdPHandler, body

KEY = make_key("ES256", kid="p1")


class ScriptedProvider(LoopbackServer):
    """`metadata` may be changed; an endpoint that is None is not named."""

    host = "127.0.0.1"

    def __init__(self):
        self._answers = {}
        self._forms = []
        super().__init__(_Handler)
        self.metadata = {
            "issuer": self.url,
            "authorization_endpoint": self.url + "/authorize",
            "token_endpoint": self.url + "/token",
            "device_authorization_endpoint": self.url + "/device",
            "revocation_endpoint": self.url + "/revoke",
            "jwks_uri": self.url + "/jwks",
            "authorization_response_iss_parameter_supported": True,
        }

    def say(self, path, *answers, status=200):
        self._answers.setdefault(path, []).extend((answer, status) for answer in answers)

    def forms(self, path):
        return [form for where, form in self._forms if where == path]

    def answer(self, handler):
        if handler.path == "/.well-known/openid-configuration":
            found = {name: value for name, value in self.metadata.items() if value is not None}
            return body(json.dumps(found).encode())(handler)
        if handler.path == "/jwks":
            return body(jwks_of([KEY]))(handler)
        data = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        self._forms.append((handler.path, dict(parse_qsl(data.decode(), keep_blank_values=True))))
        answers = self._answers.get(handler.path, [({}, 404)])
        answer, status = answers.pop(0) if len(answers) > 1 else answers[0]
        return body(answer if isinstance(answer, bytes) else json.dumps(answer).encode(), status=status)(handler)

    def id_token(self, now, client="cli", **changes):
        claims = {"iss": self.url, "aud": client, "sub": "u1", "preferred_username": "ann"}
        claims |= {"iat": now, "exp": now + 300}
        return sign(
            {name: value for name, value in (claims | changes).items() if value is not None}, KEY, {"typ": "JWT"}
        )


class _Handler(_IdPHandler):
    def do_POST(self):  # noqa: N802 the base class's name
        self.server.idp.answer(self)
