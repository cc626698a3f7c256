"""The rows about outbound calls: who may call, with whose credential, and what happens when the destination is broken.

Law: tasks call with Airflow's own `HttpOperator`, in real runs. The outcome is read where an operator would look, in
the decision log, in the task's log and at the destination; it is never guessed from the policy.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import httpx

from demo.files import Layout
from demo.tour_client import Answer, Asked, Asker, DecisionLog, ask, until
from demo.tour_rows import Check, Row, nothing_more
from demo.tour_story import story_row

CALLED_WITHIN_S = 90.0
ENDED_WITHIN_S = 90.0
SETTLED_WITHIN_S = 3.0
OPEN_WITHIN_S = 5.0
BACK_WITHIN_S = 30.0
AT_ONCE_S = 0.5
CALLS_EVERY_S = 0.1
RUNS = 3
OK = 200
FORBIDDEN = 403
FAILURE = 502
UNAVAILABLE = 503
BROKEN = "no_healthy_host"
ENDS = frozenset({"success", "failed"})
DAGS = "/api/v2/dags"
ORDER = "/v1/orders/7"
TRIGGER: dict[str, Any] = {"method": "POST", "body": {"logical_date": None}}
TASK_HEADERS = frozenset({"x-run-identity", "x-run-proof", "proxy-authorization"})
SPOOFED = {"x-authz-user": "adam", "x-authz-roles": "admin"}


def runs(dag: str) -> str:
    """Return the path of a DAG's runs."""
    return f"{DAGS}/{dag}/dagRuns"


class Outbound:
    """The rows, in groups: runs take their time, and meanwhile the tour asks other things."""

    def __init__(self, layout: Layout, asker: Asker, log: DecisionLog) -> None:
        self._layout = layout
        self._asker = asker
        self._log = log
        self._run_ids: dict[str, str] = {}
        self._told: set[str] = set()
        self._took_s = 0.0

    def triggers(self) -> Iterator[Row]:
        """Runs whose tasks will call out."""
        yield self.trigger("sales-etl", "sales_orders")
        yield self.trigger("sales-etl", "sales_cleanup")
        yield self.trigger("finance-etl", "finance_orders")

    def trigger(self, client: str, dag: str) -> Row:
        """A run is triggered by a service account."""
        rule = f"200 rule {client.removesuffix('-etl')}-trigger"
        asked = partial(self._asker.service, client, runs(dag), **TRIGGER)
        return Row(client, f"trigger {dag}", rule, asked, partial(self._remember, dag))

    def of_tasks(self) -> Iterator[Row]:
        """The outcome of their calls, and what their logs say."""
        allowed, finance, cleanup = "200 rule orders-for-sales", "403 no_rule", "403 deny_rule orders-are-kept"
        yield self._call("sales_orders", "GET /v1/orders/7", allowed, self._knows_the_run)
        yield self._task_log("sales_orders", "what_it_has", self._has_no_secret)
        yield self._call("finance_orders", "GET /v1/orders/7, as sales_orders does", finance, self._never_arrived)
        yield self._task_log("finance_orders", "read", partial(self._tells_why, "no_rule"))
        yield self._call("sales_cleanup", "DELETE /v1/orders/7", cleanup, self._never_arrived)
        yield self._task_log("sales_cleanup", "delete", partial(self._tells_why, "orders-are-kept"))

    def after_the_edit(self) -> Row:
        """The outcome of the run that was triggered again once the policy allowed its call."""
        return self._call("finance_orders", "GET /v1/orders/7, rule added live", "200 rule month-end")

    def story(self, client: str, dag: str) -> Row:
        """What is on record about the DAG's latest run."""
        return story_row(self._layout, dag, self._run_ids[dag], client)

    def direct(self) -> Iterator[Row]:
        """What a program with its own token may call."""
        who = "sales-etl"
        yield Row(
            who,
            "outbound: GET /v1/orders/7, spoofed identity",
            "200 rule orders",
            partial(self._order, headers=SPOOFED),
            self._saw_who_calls,
        )
        yield Row(
            who,
            "outbound: DELETE /v1/orders/7",
            "403 deny_rule orders-are-kept",
            partial(self._order, method="DELETE"),
            self._never_arrived,
        )
        yield Row(
            who,
            "outbound with a token for Airflow",
            "401 audience",
            partial(self._order, audience="airflow"),
            self._never_arrived,
        )

    def breaker(self) -> Iterator[Row]:
        """The destination fails: it is ejected and callers get an error at once, until it recovers."""
        task = "a task of sales_orders"
        who = "sales-etl"
        yield Row(who, "outbound: GET, the service fails", "502 rule orders", partial(self._when, fails_with=FAILURE))
        yield self.trigger("sales-etl", "sales_orders")
        yield Row(who, "outbound: GET, the breaker is open", "503 rule orders", self._until_open, self._says_so_at_once)
        yield Row(task, "GET, the breaker is open", "503 rule orders-for-sales", self._broken_call, self._log_says_so)
        yield Row(who, "outbound: GET, the service has recovered", "200 rule orders", self._until_back)

    def _call(self, dag: str, request: str, expected: str, check: Check = nothing_more) -> Row:
        return Row(f"a task of {dag}", request, expected, partial(self._call_of, dag), partial(self._after, dag, check))

    def _call_of(self, dag: str) -> Answer:
        """What the gate decided about the outbound call of the DAG's latest run, as the decision log has it."""
        run = {"dag_id": dag, "run_id": self._run_ids[dag]}

        def is_its_call(record: Mapping[str, Any]) -> bool:
            return record["plane"] == "egress" and run.items() <= (record["run"] or {}).items()

        record = self._log.first(is_its_call, CALLED_WITHIN_S)
        if not record:
            raise LookupError(f"no task of {dag} has called within {CALLED_WITHIN_S:.0f} s")
        self._told.add(record["id"])
        return Answer(status=OK if record["decision"] == "allow" else FORBIDDEN, decision=record["id"], body=b"")

    def _after(self, dag: str, check: Check, answer: Answer) -> str:
        """Wait until the run has ended, then check: it must have ended as its call did."""
        state = self._state_of(dag)
        if (state == "success") != (answer.status == OK):
            return f"the run of {dag} ended as {state}"
        return check(answer)

    def _state_of(self, dag: str) -> str:
        states: list[str] = []

        def ended() -> bool:
            found = self._asker.person("ann", f"{runs(dag)}/{self._run_ids[dag]}").json()
            states.append(found["state"])
            return states[-1] in ENDS

        until(ended, ENDED_WITHIN_S)
        return states[-1]

    def _remember(self, dag: str, answer: Answer) -> str:
        self._run_ids[dag] = answer.json()["dag_run_id"]
        return ""

    def _task_log(self, dag: str, task: str, check: Check) -> Row:
        asked = partial(self._read_log, dag, task)
        return Row("ann (viewer)", f"read the log of {dag}.{task}", "200 rule airflow.viewer", asked, check)

    def _read_log(self, dag: str, task: str) -> Answer:
        log = f"{runs(dag)}/{self._run_ids[dag]}/taskInstances/{task}/logs/1?full_content=true"
        return self._asker.person("ann", log)

    def _has_no_secret(self, answer: Answer) -> str:
        """A task gets only an address from its connection; the credential is in no file but its own."""
        wanted = f"host='{self._layout.orders_for_tasks}' login=None password=None extra=None"
        if wanted not in answer.body.decode():
            return f"the task's log does not say {wanted}"
        leaks = [str(path) for path in self._layout.files_with(self._layout.orders_credential.read_bytes())]
        return f"the credential is in {', '.join(leaks)}" if leaks else ""

    def _tells_why(self, word: str, answer: Answer) -> str:
        """The log of a denied task names the reason or rule, and the decision, so that guessing is unnecessary."""
        log = answer.body.decode()
        told = [decision for decision in self._told if decision in log]
        if word not in log:
            return f"the task's log does not say {word}"
        return "" if told else "the task's log names no decision"

    def _was_given_the_credential(self, _answer: Answer) -> str:
        """The service shows that each call had its credential, and nothing that identified the caller to the gate."""
        wanted = f"Bearer {self._layout.orders_credential.read_text()}"
        for call in self._seen()["calls"]:
            headers = [(name, value) for name, value in call["headers"]]
            if [value for name, value in headers if name == "authorization"] != [wanted]:
                return "the service got a call without its credential"
            left = sorted(TASK_HEADERS & {name for name, _value in headers})
            if left:
                return f"the service got {', '.join(left)}"
        return ""

    def _knows_the_run(self, answer: Answer) -> str:
        """The service gets the calling task and its assurance level: `asserted`; the demo's settings say why."""
        wanted = {"x-authz-dag": "sales_orders", "x-authz-task": "read", "x-authz-identity": "asserted"}
        if not any(wanted.items() <= dict(call["headers"]).items() for call in self._seen()["calls"]):
            return f"no call that the service saw has {wanted}"
        return self._was_given_the_credential(answer)

    def _order(self, *, method: str = "GET", audience: str = "airflow-egress", **more: Any) -> Answer:
        token = self._asker.issuer.service_token("sales-etl", audience)
        port = self._layout.ports.egress
        return ask(Asked(port=port, method=method, target=ORDER, host="orders.internal", token=token, **more))

    def _seen(self) -> Any:
        return ask(Asked(port=self._layout.ports.orders, target="/seen")).json()

    def _never_arrived(self, _answer: Answer) -> str:
        """As many calls reached the destination as the gate let through: a denied one never arrived."""

        def is_same() -> bool:
            return int(self._seen()["received"]) == self._log.count(lambda record: _is_outbound(record, "allow"))

        return "" if until(is_same, SETTLED_WITHIN_S) is not None else "a call that was denied reached the destination"

    def _saw_who_calls(self, answer: Answer) -> str:
        headers = self._seen()["calls"][-1]["headers"]
        users = [value for name, value in headers if name == "x-authz-user"]
        if users != ["sales-etl"]:
            return f"the upstream saw x-authz-user {users}"
        return self._was_given_the_credential(answer)

    def _when(self, *, fails_with: int) -> Answer:
        body = {"fail_with": fails_with}
        ask(Asked(port=self._layout.ports.orders, method="POST", target="/mood", body=body))
        return self._order()

    def _until_open(self) -> Answer:
        """Call until the gate answers instead of the service; the last call is timed."""
        answers: list[Answer] = []

        def is_open() -> bool:
            started = time.monotonic()
            answers.append(self._order())
            self._took_s = time.monotonic() - started
            return answers[-1].status == UNAVAILABLE

        until(is_open, OPEN_WITHIN_S)
        return answers[-1]

    def _says_so_at_once(self, answer: Answer) -> str:
        """Callers do not wait for a service known to be broken, nor mistake the answer for the service's own."""
        told = answer.json()
        if told.get("destination") != "orders":
            return f"the answer does not name the destination: {told}"
        return "" if self._took_s < AT_ONCE_S else f"that took {self._took_s:.2f} s"

    def _broken_call(self) -> Answer:
        """A task's call that the gate let through in vain.

        After each pause Envoy lets a few calls through to find out whether the service is well. If the task's last call
        was one of these, the service's own failure is in its log, and another run calls again.
        """
        for _ in range(RUNS - 1):
            answer = self._call_while_open()
            if answer.status == UNAVAILABLE:
                return answer
            self._remember("sales_orders", self.trigger("sales-etl", "sales_orders").ask())
        return self._call_while_open()

    def _call_while_open(self) -> Answer:
        with self._kept_open():
            call = self._call_of("sales_orders")
            self._state_of("sales_orders")
        log = self._read_log("sales_orders", "read").body
        return Answer(status=UNAVAILABLE if b"503: the gate says" in log else OK, decision=call.decision, body=log)

    @contextmanager
    def _kept_open(self) -> Iterator[None]:
        """Others call too, as they would: the breaker opens again as soon as it has let a few calls through."""
        over = threading.Event()

        def call() -> None:
            while not over.wait(CALLS_EVERY_S):
                with suppress(httpx.HTTPError):
                    self._order()

        others = threading.Thread(target=call, daemon=True)
        others.start()
        try:
            yield
        finally:
            over.set()
            others.join()

    def _log_says_so(self, answer: Answer) -> str:
        """The task's log distinguishes a broken destination from a denial, and from a broken gate."""
        return "" if BROKEN in answer.body.decode() else f"the task's log does not say {BROKEN}"

    def _until_back(self) -> Answer:
        answers = [self._when(fails_with=0)]

        def is_back() -> bool:
            answers.append(self._order())
            return answers[-1].status == OK

        until(is_back, BACK_WITHIN_S)
        return answers[-1]


def _is_outbound(record: Mapping[str, Any], decision: str) -> bool:
    return bool(record["plane"] == "egress" and record["decision"] == decision)
