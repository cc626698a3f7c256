"""The assertion key is changed while people work, with an API server of several workers: no request fails.

Each worker process has its own copy of the gate's keys, and learns of a new one by itself.
"""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from authz.core import assertion
from tests.e2e.envoy_harness import wait_for
from tests.support.sites.airflow import AirflowSite, empty_dags

pytestmark = pytest.mark.timeout(300)
WORKERS = 2
THREADS = 4


class Gate:
    """Serves the public keys, as the gate does, and says with which key it signs."""

    def __init__(self):
        self.signing = assertion.load_signing_key(assertion.generate_pem())
        self.published = [self.signing]
        self.fetches = 0


@contextmanager
def serving(gate):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            gate.fetches += 1
            body = json.dumps(assertion.public_jwks(gate.published)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jwks.json"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Callers:
    """People who ask all the time, each request on a new connection, so that every worker gets some."""

    def __init__(self, site, gate):
        self._site, self._gate = site, gate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(THREADS)]
        self.answers = []  # (the signing key's name, status)

    def _ask(self):
        while not self._stop.is_set():
            key = self._gate.signing
            token = self._site.mint("viewer", signing_key=key)
            headers = {assertion.HEADER: token, "connection": "close"}
            answer = httpx.get(f"{self._site.url}/api/v2/dags", headers=headers, trust_env=False, timeout=30)
            self.answers.append((key.kid, answer.status_code))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count, kid):
        until(lambda: sum(name == kid for name, _ in list(self.answers)) >= count, "no answers")


def until(check, what):
    wait_for(check, what, pause=time.sleep, seconds=60)


def test_no_request_fails_while_the_key_changes(tmp_path):
    gate = Gate()
    with serving(gate) as url:
        options = {"AIRFLOW__AUTHZ__JWKS_FILE": None, "AIRFLOW__AUTHZ__JWKS_URL": url}
        site = AirflowSite(tmp_path, dags={"one": empty_dags("one")}, workers=WORKERS, options=options)
        with site, Callers(site, gate) as callers:
            for _ in range(2):  # the second change comes right after the fetch that found the first new key
                old, new = gate.signing, assertion.load_signing_key(assertion.generate_pem())
                callers.wait_for(10, old.kid)
                fetched = gate.fetches
                gate.published = [old, new]
                gate.signing = new
                callers.wait_for(20, new.kid)
                # Which worker takes a connection is the kernel's choice: ask until each has met the new key.
                until(lambda wanted=fetched + WORKERS: gate.fetches >= wanted, "a worker has not fetched the new key")
                gate.published = [new]
    assert {status for _, status in callers.answers} == {200}
    assert len({kid for kid, _ in callers.answers}) == 3
