import pytest

from authz.settings.plan.credentials import ClientCredentials, HeaderSecret
from authz.settings.plan.limits import Limits

TOKENS = {"token_endpoint": "https://idp.test/token", "client_id": "gate", "secret": "/run/secret"}


def test_the_usual_credential_is_a_bearer():
    made = HeaderSecret(secret="/run/secret")
    assert (made.header, made.prefix) == ("authorization", "Bearer ")


@pytest.mark.parametrize("header", ["x-api-key", "private-token", "api_key", "cookie"])
def test_any_other_header_may_carry_it(header):
    assert HeaderSecret(secret="/run/secret", header=header, prefix="").header == header


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": ""}, "needs the file"),
        ({"header": "Authorization"}, "lower case"),
        *(({"header": name}, "not the name of a header") for name in ("", "a b", "a:", ":path", "a\r\nb", "ä")),
        *(
            ({"header": name}, "carries no credential")
            for name in ("host", "content-length", "proxy-authorization", "x-authz-user", "x-run-identity", "upgrade")
        ),
        *(({"prefix": text}, "visible ASCII") for text in (" Bearer", "a\nb", "ä")),
    ],
)
def test_what_is_no_credential_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        HeaderSecret(**{"secret": "/run/secret"} | changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token_endpoint": "http://idp.test/token"}, "http is for this machine only"),
        ({"token_endpoint": "idp.test"}, "write it as https:"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"scopes": ("a b",)}, "one word"),
        ({"secret": ""}, "needs the file"),
        *(({"parameters": (pair,)}, "name=value") for pair in ("audience", "=x", "a=", "a b=c", "a=\n")),
    ],
)
def test_what_gets_no_token_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        ClientCredentials(**TOKENS | changes)


@pytest.mark.parametrize(
    "changes",
    [
        *({name: 0} for name in ("connections", "pending", "failures", "pause", "connect_timeout", "idle_timeout")),
        *({"retries": -1}, {"retries": 6}, {"request_bytes": -1}, {"response_bytes": -1}),
    ],
)
def test_limits_that_let_nothing_through_are_refused(changes):
    with pytest.raises(ValueError, match="limits: "):
        Limits(**changes)
