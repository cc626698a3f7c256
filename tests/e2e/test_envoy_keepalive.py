"""Kept connections to a real uvicorn, which closes one that was idle for five seconds: no request meets the closing."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvicorn

from tests.e2e.envoy_harness import Envoy, settings_for, wait_for
from tests.e2e.raw_http import Connection, request
from tests.e2e.scripted_authz import ScriptedAuthz
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e

CLIENTS = 30
FIRST_S, LAST_S = 3.7, 5.3  # around Envoy's 4 s and uvicorn's 5 s


class Uvicorn:
    """uvicorn as Airflow starts it, but with its default idle time."""

    def __init__(self):
        self.port = free_port()
        self._server = uvicorn.Server(
            uvicorn.Config(self._app, port=self.port, log_config=None, lifespan="off", interface="asgi3")
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.asked = 0

    async def _app(self, _scope, _receive, send):
        self.asked += 1
        await asyncio.sleep(0.2)  # so that Envoy needs a connection for each of those who come together
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def __enter__(self):
        self._thread.start()
        wait_for(lambda: self._server.started, "uvicorn does not start", pause=time.sleep)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(15)
        assert not self._thread.is_alive()


def test_no_request_meets_a_connection_that_the_upstream_is_closing(tmp_path):
    with Uvicorn() as upstream, ScriptedAuthz() as authz:
        settings = settings_for((authz.endpoint,), f"127.0.0.1:{upstream.port}", tmp_path)
        with Envoy(settings, tmp_path) as envoy, ThreadPoolExecutor(CLIENTS) as threads:
            ready = threading.Barrier(CLIENTS)

            def visit(number):
                with Connection(envoy.inbound) as connection:
                    ready.wait(10)
                    statuses = []
                    for pause in (0, FIRST_S + (LAST_S - FIRST_S) * number / CLIENTS):
                        time.sleep(pause)  # how long a connection was idle is what this is about
                        connection.send(request("/x", method="POST", body=b"x"))
                        statuses.append(connection.response().status)
                    return statuses

            assert list(threads.map(visit, range(CLIENTS))) == [[200, 200]] * CLIENTS
            # Nor was any request sent twice: one that changes something would have been done twice.
            assert upstream.asked == 2 * CLIENTS
            assert envoy.stat("cluster.inbound.airflow.upstream_rq_retry") == 0
            assert envoy.stat("cluster.inbound.airflow.upstream_cx_idle_timeout") > 0
