"""A provider's logout token through a real Envoy: who sends forged ones keeps nobody else from being heard."""

import socket

import pytest

from tests.e2e.login_site import LoginSite
from tests.e2e.raw_http import request
from tests.support.factories.tokens import NOW, logout_claims, sign
from tests.support.rigs.backchannel import THIEF, Rig
from tests.support.rigs.service import KEY

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(tmp_path_factory, envoy_binary):
    rig = Rig()
    rig.server.start()
    folder = tmp_path_factory.mktemp("site")
    with LoginSite(folder, envoy_binary, secure=False, backchannel=f"127.0.0.1:{rig.server.port}") as site:
        site.rig = rig
        yield site
    rig.server.stop()


def tell(site, *headers, key=KEY, sender="127.0.0.1", token_id="l-1"):
    """The answer's status; `sender` is the address of the connection, as Envoy sees it."""
    claims = logout_claims(iat=NOW, exp=NOW + 60, jti=token_id, aud="gate")
    body = f"logout_token={sign(claims, key, {'typ': 'logout+jwt'})}".encode()
    form = ("Content-Type: application/x-www-form-urlencoded", "Connection: close")
    host = f"127.0.0.1:{site.port}"
    data = request("/oauth2/backchannel-logout", *form, *headers, method="POST", host=host, body=body)
    with socket.create_connection(("127.0.0.1", site.port), 10, source_address=(sender, 0)) as connection:
        connection.sendall(data)
        return int(connection.makefile("rb").readline().split()[1])


def test_forged_tokens_of_one_sender_leave_the_provider_heard(site):
    forged = [tell(site, key=THIEF, sender="127.0.0.2") for _ in range(25)]
    assert forged == [400] * 20 + [429] * 5
    assert tell(site, "X-Forwarded-For: 127.0.0.3", key=THIEF, sender="127.0.0.2") == 429, "Envoy overwrites it"
    assert tell(site, sender="127.0.0.3") == 200
    assert len(site.rig.attempts) == 1
