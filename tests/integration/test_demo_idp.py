"""The development provider as a real process: what it issues, to whom, and that it stays at home."""

import base64
import hashlib
import re
import subprocess
import sys

import httpx
import jwt
import pytest

from tests.support.ports import free_port

REDIRECT = "http://127.0.0.1:9/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def idp():
    command = [sys.executable, "-m", "demo.idp", "--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if line.startswith("issuer:"):
                    break
            with httpx.Client(base_url=line.split()[1], trust_env=False) as client:
                yield client
        finally:
            process.terminate()
            assert process.wait(10) == 0


def verified(idp, token, audience="airflow", typ="at+jwt"):
    header = jwt.get_unverified_header(token)
    assert header["typ"] == typ
    (key,) = [key for key in jwt.PyJWKSet.from_dict(idp.get("/jwks.json").json()).keys if key.key_id == header["kid"]]
    return jwt.decode(token, key, algorithms=["RS256"], audience=audience, issuer=str(idp.base_url).rstrip("/"))


def authorize(idp, login="ann", **changes):
    asked = {
        "response_type": "code",
        "client_id": "airflow-cli",
        "redirect_uri": REDIRECT,
        "scope": "openid profile",
        "state": "s-1",
        "nonce": "n-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    asked = {name: value for name, value in {**asked, **changes}.items() if value is not None}
    return idp.post("/authorize", params=asked, data={"login": login})


def code_of(answer):
    assert answer.status_code == 302
    location = httpx.URL(answer.headers["location"])
    assert location.params["state"] == "s-1"
    return location.params["code"]


def redeem(idp, code, **changes):
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "client_id": "airflow-cli",
        "code_verifier": VERIFIER,
        **changes,
    }
    return idp.post("/token", data=form)


def test_discovery_names_what_exists(idp):
    document = idp.get("/.well-known/openid-configuration").json()
    issuer = str(idp.base_url).rstrip("/")
    assert document["issuer"] == issuer
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert idp.get(document["jwks_uri"]).status_code == 200
    (key,) = idp.get(document["jwks_uri"]).json()["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}


def test_code_flow_with_pkce_and_refresh(idp):
    page = idp.get("/authorize", params={"client_id": "airflow-cli"})
    assert re.search(r'name="login" value="ann"', page.text)
    code = code_of(authorize(idp))
    tokens = redeem(idp, code).json()
    claims = verified(idp, tokens["access_token"])
    assert claims["sub"] == "user-ann"
    assert (claims["groups"], claims["client_id"]) == (["data-readers"], "airflow-cli")
    assert claims["exp"] - claims["iat"] == tokens["expires_in"] == 600
    identity = verified(idp, tokens["id_token"], audience="airflow-cli", typ="JWT")
    assert (identity["nonce"], identity["sub"]) == ("n-1", "user-ann")
    refreshed = idp.post(
        "/token",
        data={
            "grant_type": "refresh_token",
            "refresh_token": tokens["refresh_token"],
            "client_id": "airflow-cli",
            "resource": "airflow-egress",
        },
    ).json()
    assert verified(idp, refreshed["access_token"], audience="airflow-egress")["sub"] == "user-ann"
    assert redeem(idp, code).json()["error"] == "invalid_grant"


def test_a_confidential_client_needs_its_secret(idp):
    code = code_of(authorize(idp, client_id="airflow-gate"))
    assert redeem(idp, code, client_id="airflow-gate").json()["error"] == "invalid_client"
    wrong = redeem(idp, code, client_id="airflow-gate", client_secret="wrong")
    assert wrong.json()["error"] == "invalid_client"
    assert redeem(idp, code, client_id="airflow-gate", client_secret="airflow-gate-secret").status_code == 200


@pytest.mark.parametrize(
    "changes", [{"code_challenge": None, "code_challenge_method": None}, {"code_challenge_method": "plain"}]
)
def test_pkce_is_not_optional(idp, changes):
    answer = authorize(idp, **changes)
    assert "code" not in httpx.URL(answer.headers.get("location", "")).params
    assert "S256" in answer.headers.get("location", "") + answer.text


def test_a_wrong_verifier_gets_nothing(idp):
    code = code_of(authorize(idp))
    assert redeem(idp, code, code_verifier="w" * 43).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.test/callback",
        "http://127.0.0.1.evil.test/",
        "http://127.0.0.1:9@evil.test/",
        "http://127.0.0.1:9",
        None,
    ],
)
def test_codes_are_sent_to_loopback_only(idp, uri):
    answer = authorize(idp, redirect_uri=uri)
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_client_credentials(idp):
    form = {"grant_type": "client_credentials", "resource": "airflow-egress"}
    tokens = idp.post("/token", data=form, auth=("sales-etl", "sales-etl-secret")).json()
    claims = verified(idp, tokens["access_token"], audience="airflow-egress")
    assert (claims["sub"], claims["azp"], claims["groups"]) == ("sales-etl", "sales-etl", [])
    assert "refresh_token" not in tokens
    wrong = idp.post("/token", data=form, auth=("sales-etl", "finance-etl-secret"))
    assert wrong.json()["error"] == "invalid_client"
    form["resource"] = "elsewhere"
    assert idp.post("/token", data=form, auth=("sales-etl", "sales-etl-secret")).json()["error"] == "invalid_request"


@pytest.mark.parametrize("client", ["airflow-gate", "airflow-cli"])
def test_clients_for_people_are_no_services(idp, client):
    answer = idp.post("/token", data={"grant_type": "client_credentials"}, auth=(client, "airflow-gate-secret"))
    assert answer.status_code in {400, 401}


def test_dev_tokens_can_be_wrong_in_one_way_each(idp):
    def dev(**asked):
        return idp.post("/dev/token", json=asked).json()["access_token"]

    assert verified(idp, dev(user="ann"))["preferred_username"] == "ann"
    assert verified(idp, dev(client="sales-etl", audience="airflow-egress"), "airflow-egress")["sub"] == "sales-etl"
    with pytest.raises(jwt.ExpiredSignatureError):
        verified(idp, dev(user="ann", expires_in=-60))
    with pytest.raises(jwt.InvalidAudienceError):
        verified(idp, dev(user="ann", audience="elsewhere"))
    assert verified(idp, dev(user="ann", claims={"groups": ["x"]}))["groups"] == ["x"]
    bare = idp.post("/dev/token", json={"user": "ann"}, headers={"accept": "text/plain"})
    assert verified(idp, bare.text)["sub"] == "user-ann"
    for asked in ({}, {"user": "mallory"}, {"client": "airflow-gate"}, {"client": "sales-etl", "user": "mallory"}):
        assert idp.post("/dev/token", json=asked).status_code == 400


def test_rotation_signs_with_a_new_key_and_keeps_or_forgets_the_old(idp):
    old = idp.post("/dev/token", json={"user": "ann"}).json()["access_token"]
    kid = idp.post("/dev/rotate", json={}).json()["kid"]
    new = idp.post("/dev/token", json={"user": "ann"}).json()["access_token"]
    assert jwt.get_unverified_header(new)["kid"] == kid != jwt.get_unverified_header(old)["kid"]
    verified(idp, old)
    idp.post("/dev/rotate", json={"forget_old": True})
    assert len(idp.get("/jwks.json").json()["keys"]) == 1


def test_other_names_for_this_machine_are_refused(idp):
    for path in ("/jwks.json", "/dev/token"):
        assert idp.post(path, json={"user": "ann"}, headers={"host": "evil.test"}).status_code == 421
    assert idp.get("/jwks.json", headers={"host": "localhost"}).status_code == 200


def test_forms_cannot_reach_the_development_endpoints(idp):
    assert idp.post("/dev/token", data={"user": "ann"}).status_code == 415
    assert idp.post("/dev/rotate", data={}).status_code == 415


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.evil.test"])
def test_it_refuses_to_listen_beyond_loopback(host):
    command = [sys.executable, "-m", "demo.idp", "--port", "1", "--host", host]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 2
    assert "loopback" in ended.stderr
