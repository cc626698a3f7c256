"""DAGs whose tasks call out, in every way that docs/tasks.md has a row for."""

import asyncio
import multiprocessing
import os
import sys
from datetime import UTC, datetime

import requests
from airflow.providers.http.hooks.http import HttpAsyncHook, HttpHook
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, get_current_context, task

from authz.airflow.egress.errors import NoRunError
from authz.airflow.egress.for_aiohttp import RunMiddleware
from authz.airflow.egress.for_httpx import RunAuth as HttpxAuth
from authz.airflow.egress.for_requests import RunAuth
from authz.airflow.egress.identity import RunIdentity

GATE = os.environ["GATE"]
INTERNAL = "http://orders.internal/v1"
AUTH = RunAuth(GATE)  # made while the file is parsed, without a run

with DAG("sales_daily", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    for way in ("gate", "flagged", "plain"):
        HttpOperator(task_id=f"operator_{way}", http_conn_id=way, endpoint="v1/orders", method="GET")
        HttpSensor(task_id=f"sensor_{way}", http_conn_id=way, endpoint="v1/ready", poke_interval=0.1, timeout=1)
        HttpOperator(task_id=f"deferred_{way}", http_conn_id=way, endpoint="v1/later", method="GET", deferrable=True)
    HttpOperator(task_id="operator_denied", http_conn_id="gate", endpoint="v1/secret", method="GET", retries=3)
    HttpOperator(task_id="operator_proxied", http_conn_id="internal", endpoint="v1/orders", method="GET")
    HttpSensor(task_id="sensor_proxied", http_conn_id="internal", endpoint="v1/ready", poke_interval=0.1, timeout=1)
    BashOperator(task_id="curl", bash_command=f"curl -sSf {INTERNAL}/curl")
    BashOperator(
        task_id="leaks_by_templates",
        bash_command="echo logged {{ conn.flagged.extra }}",
        env={"RENDERED": "{{ conn.flagged.extra }}"},
        append_env=True,
        do_xcom_push=False,  # the last line that it writes would be pushed
    )

    @task
    def hook_in_code(conn_id):
        return HttpHook("GET", conn_id).run("/v1/hook").text

    @task
    def asynchronous_hook(conn_id):
        import aiohttp

        async def call():
            async with aiohttp.ClientSession() as session:
                got = await HttpAsyncHook("GET", conn_id).run(session, "/v1/async")
                return await got.text()

        return asyncio.run(call())

    @task
    def by_requests(url=f"{GATE}/v1/requests"):
        own = {"auth": AUTH} if url.startswith(GATE) else {}
        return requests.get(url, timeout=10, **own).text

    @task
    def by_httpx(url=f"{GATE}/v1/httpx"):
        import httpx

        return httpx.get(url, auth=HttpxAuth(GATE) if url.startswith(GATE) else None).text

    @task
    def by_aiohttp(url=f"{GATE}/v1/aiohttp"):
        import aiohttp

        async def call():
            own = {"middlewares": [RunMiddleware(GATE)]} if url.startswith(GATE) else {"trust_env": True}
            async with aiohttp.ClientSession(**own) as session, session.get(url) as got:
                return await got.text()

        return asyncio.run(call())

    @task
    def by_urllib():
        import urllib.request

        with urllib.request.urlopen(f"{INTERNAL}/urllib") as got:  # noqa: S310 what is tested
            return got.read().decode()

    @task
    def beside_xcom():
        """Calls from threads while the task talks to Airflow: one answer is never taken for another."""
        from concurrent.futures import ThreadPoolExecutor

        ti = get_current_context()["ti"]
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(requests.get, f"{GATE}/v1/{n}", auth=AUTH, timeout=10) for n in range(8)]
            for n in range(8):
                ti.xcom_push(key=f"k{n}", value=n)
            return [one.result().status_code for one in waiting]

    @task
    def asynchronous_beside_airflow():
        """Coroutines that call out while others ask Airflow, on one event loop."""
        import aiohttp
        from airflow.sdk.bases.hook import BaseHook

        async def main():
            async with aiohttp.ClientSession(middlewares=[RunMiddleware(GATE)]) as session:

                async def call(n):
                    async with session.get(f"{GATE}/v1/loop{n}") as got:
                        return got.status

                asking = [BaseHook.aget_connection("plain") for _ in range(8)]
                return (await asyncio.gather(*(call(n) for n in range(8)), *asking))[:8]

        return asyncio.run(main())

    @task
    def in_forked_children():
        children = [forked(n) for n in range(4)]
        return [os.waitpid(child, 0)[1] for child in children]

    def forked(n):
        """A child that makes one call; its exit status says whether it worked."""
        if child := os.fork():
            return child
        ended = 1
        try:
            ended = 0 if requests.get(f"{GATE}/v1/forked{n}", auth=AUTH, timeout=10).ok else 1
        finally:
            os._exit(ended)

    @task
    def by_multiprocessing():
        """It closes the connection to the supervisor in its children: they cannot ask, and are told so."""
        child = multiprocessing.get_context("fork").Process(target=forked_away)
        child.start()
        child.join(30)
        return child.exitcode

    def forked_away():
        try:
            requests.get(f"{GATE}/v1/multiprocessing", auth=AUTH, timeout=10)
        except NoRunError as error:
            sys.exit(7 if "children of `multiprocessing`" in str(error) else 1)

    @task
    def leaks_by_log():
        identity = RunIdentity.current()
        token = identity.headers("GET", GATE)["X-Run-Identity"]
        print("logged", token, identity, identity.proxy(), os.environ["HTTP_PROXY"])  # noqa: T201 the leak
        raise ValueError(f"raised {token}")

    @task
    def leaks_by_xcom():
        return RunIdentity.current()

    hook_in_code.override(task_id="hook_gate")("gate")
    hook_in_code.override(task_id="hook_flagged")("flagged")
    hook_in_code.override(task_id="hook_proxied")("internal")
    asynchronous_hook.override(task_id="async_hook_gate")("gate")
    asynchronous_hook.override(task_id="async_hook_flagged")("flagged")
    asynchronous_hook.override(task_id="async_hook_proxied")("internal")
    by_requests()
    by_httpx()
    by_aiohttp()
    by_requests.override(task_id="requests_proxied")(f"{INTERNAL}/requests")
    by_httpx.override(task_id="httpx_proxied")(f"{INTERNAL}/httpx")
    by_aiohttp.override(task_id="aiohttp_proxied")(f"{INTERNAL}/aiohttp")
    by_urllib()
    beside_xcom()
    asynchronous_beside_airflow()
    in_forked_children()
    by_multiprocessing()
    leaks_by_log()
    leaks_by_xcom()
