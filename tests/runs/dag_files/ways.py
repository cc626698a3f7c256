"""DAGs that call out in every way that is there. The connection `orders` has the type `authz-http`."""

import asyncio
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

from authz.airflow.egress.deferrable import GateHttpOperator

START = datetime(2026, 1, 1, tzinfo=UTC)
RETRIES = {"retries": 1, "retry_delay": timedelta(0)}
FETCH = f"{sys.executable} {Path(__file__).parent / 'fetch.py'} "
PATIENCE_S = 60
log = logging.getLogger("airflow.task")


def by_operator(task_id, **changes):
    kept = {"http_conn_id": "orders", "method": "GET", "endpoint": "/v1/orders", "log_response": True}
    return HttpOperator(task_id=task_id, **{**kept, **changes})


def shown(status, headers):
    """What careless code does with what it has sent: a log line, and an XCom."""
    log.warning("canary: sent %s", dict(headers))
    return {"status": status, "sent": {str(name): str(value) for name, value in headers.items()}}


def base_url():
    return os.environ["ORDERS_URL"]


def twice(ti=None):
    import requests

    from authz.airflow.egress.for_requests import RunAuth

    answer = requests.get(f"{base_url()}/v1/orders/try", auth=RunAuth(base_url()), timeout=PATIENCE_S)
    answer.raise_for_status()
    if ti.try_number == 1:
        raise RuntimeError("once more")


def by_requests():
    import requests

    from authz.airflow.egress.for_requests import RunAuth

    answer = requests.get(f"{base_url()}/v1/orders/requests", auth=RunAuth(base_url()), timeout=PATIENCE_S)
    return shown(answer.status_code, answer.request.headers)


def by_httpx():
    import httpx

    from authz.airflow.egress.for_httpx import RunAuth

    answer = httpx.get(f"{base_url()}/v1/orders/httpx", auth=RunAuth(base_url()), timeout=PATIENCE_S)
    return shown(answer.status_code, answer.request.headers)


def by_aiohttp():
    import aiohttp

    from authz.airflow.egress.for_aiohttp import RunMiddleware

    async def go():
        async with (
            aiohttp.ClientSession(middlewares=[RunMiddleware(base_url())]) as session,
            session.get(f"{base_url()}/v1/orders/aiohttp") as answer,
        ):
            return shown(answer.status, answer.request_info.headers)

    return asyncio.run(go())


with DAG("sales_ways", schedule=None, start_date=START):
    by_operator("extract_by_operator", headers={"X-Batch": "{{ run_id }}"})
    by_operator("extract_denied_method", method="POST", **RETRIES)
    by_operator("load_denied_task", **RETRIES)
    HttpOperator.partial(task_id="extract_each", http_conn_id="orders", method="GET").expand(
        endpoint=["/v1/orders/0", "/v1/orders/1"]
    )
    task(twice, task_id="extract_twice", **RETRIES)()
    task(by_requests, task_id="extract_by_requests")()
    task(by_httpx, task_id="extract_by_httpx")()
    task(by_aiohttp, task_id="extract_by_aiohttp")()
    BashOperator(task_id="extract_by_proxy", bash_command=FETCH + "http://orders.internal/v1/bearer")
    BashOperator(task_id="extract_by_tunnel", bash_command=FETCH + "$SECURE_URL/anything")
    for name, path in (("extract_deferred", "/v1/said"), ("extract_deferred_denied", "/v1/orders")):
        GateHttpOperator(task_id=name, http_conn_id="orders", method="GET", endpoint=path, deferrable=True)

with DAG("finance_ways", schedule=None, start_date=START):
    by_operator("extract_by_operator", **RETRIES)
