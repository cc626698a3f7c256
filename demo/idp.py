"""An OpenID provider for development: `python -m demo.idp --port 9000`.

Law: development only. It listens on loopback and answers only requests that name loopback as their host, because anyone
who reaches it can be anyone: people sign in with one click, and `/dev/*` issues any token that is requested.
"""

import argparse
import ipaddress
import signal
import sys
import time
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, jsonify, redirect, request
from waitress import create_server

from demo.idp_oauth import Provider, authorization_server, mint
from demo.idp_store import CLIENTS, PEOPLE, SCOPES, KeyRing, Store, is_loopback_url
from demo.sign_in import BANNER, sign_in_page

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
THREADS = 8


def discovery(issuer: str) -> dict[str, Any]:
    """Return the provider's metadata (OpenID Connect Discovery 1.0 §3)."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks.json",
        "end_session_endpoint": f"{issuer}/logout",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["S256"],
    }


def create_app(issuer: str) -> Flask:
    """Build the provider."""
    app = Flask("demo.idp", static_folder=None)
    provider = Provider(issuer=issuer, keys=KeyRing(), store=Store())
    server = authorization_server(app, provider)
    app.before_request(_local_only)
    _protocol_routes(app, provider, server)
    _dev_routes(app, provider, server)
    return app


def _local_only() -> Response | None:
    """Refuse other names: another site's page must not reach this through DNS rebinding."""
    host = request.host.rpartition(":")[0] if ":" in request.host.rpartition("]")[2] else request.host
    return None if host in LOCAL_HOSTS else Response("loopback only\n", status=421, mimetype="text/plain")


def _protocol_routes(app: Flask, provider: Provider, server: Any) -> None:
    @app.get("/.well-known/openid-configuration")
    def openid_configuration() -> Response:
        return jsonify(discovery(provider.issuer))

    @app.get("/jwks.json")
    def jwks() -> Response:
        answer = jsonify(provider.keys.public())
        answer.headers["cache-control"] = "max-age=300"
        return answer

    @app.post("/token")
    def token() -> Any:
        if provider.moods.token_status:
            return Response("told to fail\n", status=provider.moods.token_status, mimetype="text/plain")
        return server.create_token_response()

    @app.get("/authorize")
    def sign_in() -> Response:
        return Response(sign_in_page(PEOPLE.values(), request.query_string.decode("latin-1")), mimetype="text/html")

    @app.post("/authorize")
    def signed_in() -> Any:
        person = PEOPLE.get(request.form.get("login", ""))
        if person is None:
            return Response("no such user\n", status=400, mimetype="text/plain")
        return server.create_authorization_response(grant_user=person)

    @app.get("/logout")
    def logout() -> Any:
        target = request.args.get("post_logout_redirect_uri", "")
        if is_loopback_url(target):
            return redirect(target)
        return Response("signed out\n", mimetype="text/plain")


def _dev_routes(app: Flask, provider: Provider, server: Any) -> None:
    @app.post("/dev/rotate")
    def rotate() -> Response:
        asked = request.get_json()
        return jsonify(kid=provider.keys.rotate(forget_old=bool(asked.get("forget_old"))))

    @app.post("/dev/moods")
    def moods() -> Response:
        for name, value in request.get_json().items():
            setattr(provider.moods, name, int(value))
        return jsonify(asdict(provider.moods))

    @app.post("/dev/token")
    def dev_token() -> Any:
        asked = request.get_json()
        client = CLIENTS.get(asked.get("client", "airflow-cli"))
        person = PEOPLE.get(asked["user"]) if "user" in asked else None
        if client is None or (person is None and ("user" in asked or not client.service)):
            return Response("name a `user`, or a service `client`\n", status=400, mimetype="text/plain")
        claims = dict(asked.get("claims", {}))
        if "audience" in asked:
            claims["aud"] = asked["audience"]
        if "expires_in" in asked:
            now = int(time.time())
            claims |= {"iat": now - max(0, -asked["expires_in"]) - 60, "exp": now + asked["expires_in"]}
        access_token = mint(server, client, person, claims)
        if request.accept_mimetypes.best == "text/plain":
            return Response(access_token, mimetype="text/plain")
        return jsonify(access_token=access_token, token_type="Bearer")  # noqa: S106 - no secret


def _loopback(host: str) -> str:
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise argparse.ArgumentTypeError("only a loopback address is accepted: this provider is for development")


def _stop(*_signal: object) -> None:
    raise SystemExit(0)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="demo.idp", description=BANNER)
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    authority = f"[{options.host}]" if ":" in options.host else options.host
    issuer = f"http://{authority}:{options.port}"
    signal.signal(signal.SIGTERM, _stop)
    server = create_server(create_app(issuer), host=options.host, port=options.port, threads=THREADS, ident=None)
    print(f"{BANNER}\nissuer: {issuer}", flush=True)
    try:
        server.run()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
