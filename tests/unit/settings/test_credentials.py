import pytest

from authz.core.errors import ConfigError
from tests.support.envoy_settings import parsed

TOKENS = {"token_endpoint": "https://idp.test/token", "client_id": "gate", "client_secret_file": "/run/secret"}


def destination(**changes):
    made = {"name": "orders", "address": "127.0.0.1:80", "hosts": ["orders.test"], **changes}
    return parsed({"egress": {"destinations": [made]}}).edge.egress.destinations[0]


def secret(**changes):
    return destination(credential={"secret_file": "/run/secret", **changes}).credential


def test_the_usual_credential_is_a_bearer():
    assert secret().sent_in == ("authorization", "Bearer ")


@pytest.mark.parametrize("header", ["x-api-key", "private-token", "api_key", "cookie", "X-Api-Key"])
def test_any_other_header_may_carry_it(header):
    assert secret(header=header).sent_in == (header.lower(), "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret_file": ""}, "needs the name of a file"),
        *(({"header": name}, "not the name of a header") for name in ("", "a b", "a:", ":path", "a\r\nb", "ä")),
        *(
            ({"header": name}, "carries no credential")
            for name in ("host", "content-length", "proxy-authorization", "x-authz-user", "x-run-identity", "Upgrade")
        ),
        *(({"prefix": text}, "visible ASCII") for text in (" Bearer", "a\nb", "ä")),
    ],
)
def test_what_is_no_credential_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        secret(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token_endpoint": "http://idp.test/token"}, "http is for this machine only"),
        ({"token_endpoint": "idp.test"}, "write it as https:"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"scopes": ["a b"]}, "one word"),
        ({"client_secret_file": ""}, "needs the name of a file"),
        *(({"parameters": [pair]}, "name=value") for pair in ("audience", "=x", "a=", "a b=c", "a=\n")),
    ],
)
def test_oauth2_settings_that_could_get_no_token_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        destination(credential={"oauth2": {**TOKENS, **changes}})


def test_a_credential_needs_the_folder_of_its_file():
    made = {"name": "orders", "address": "127.0.0.1:80", "hosts": ["orders.test"], "credential": {"secret_file": "/s"}}
    with pytest.raises(ConfigError, match="a credential needs `sds`"):
        parsed({"egress": {"destinations": [made]}, "sds": ""})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"address": "10.0.0.1:80"}, "in the clear"),
        ({"address": "orders.test:80"}, "in the clear"),
        ({"address": ["127.0.0.1:80", "10.0.0.1:80"]}, "in the clear"),
        ({"keep_authorization": True}, "exclude each other"),
        ({"tunnel": True}, "inside a tunnel"),
    ],
)
def test_a_credential_that_others_could_read_is_refused(changes, words):
    bearer = {"credential": {"secret_file": "/run/secret"}}
    with pytest.raises(ConfigError, match=words):
        destination(**bearer, **changes)
    for here in ("127.0.0.1:80", "localhost:80", "[::1]:80", "unix:/run/orders.sock"):
        assert destination(**bearer, address=here).credential
    assert destination(**bearer, address="10.0.0.1:80", insecure_credential=True).credential


@pytest.mark.parametrize(
    "changes",
    [
        *({name: 0} for name in ("connections", "pending", "failures")),
        *({name: "0s"} for name in ("pause", "connect_timeout", "idle_timeout")),
        *({"retries": -1}, {"retries": 6}, {"request_bytes": "-1B"}),
    ],
)
def test_limits_that_let_nothing_through_are_refused(changes):
    with pytest.raises(ConfigError, match=r"than or equal to|write a size"):
        destination(limits=changes)
