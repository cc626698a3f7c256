"""The checked tour: real requests through the real Envoy, each with the answer it must get.

Law: every row is checked (status, reason, rule, and what reached the upstream); one wrong row makes the tour fail. A
request that cannot even be sent is a failed row, not a crash.
"""

import base64
import json
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from demo.files import EXTRA_RULES, Layout
from demo.fronts import REFUSE_THEMSELVES, RESOLVE_DOTS
from demo.tour_client import Answer, Asked, Asker, DecisionLog, Issuer, ask, until
from demo.tour_login import login_rows
from demo.tour_outbound import DAGS, TRIGGER, Outbound, runs
from demo.tour_rows import Outcome, Row

LIVE_WITHIN_S = 2.0
RUN_WITHIN_S = 60.0
CONNECTIONS = "/api/v2/connections"


class Tour:
    """The rows, in order. Later rows rely on what earlier ones did."""

    def __init__(self, layout: Layout, issuer: Issuer, log: DecisionLog) -> None:
        self._layout = layout
        self._issuer = issuer
        self._log = log
        self._asker = _asker(layout, issuer)
        self._outbound = Outbound(layout, self._asker, log)
        self._run_id = ""

    def run(self) -> Iterator[Outcome]:
        """Run row after row."""
        for row in self._rows():
            try:
                yield self._outcome(row, row.ask())
            except (httpx.HTTPError, HTTPException, OSError, LookupError, ValueError) as error:
                # An answer that did not come or cannot be read is this row's result, and the tour goes on.
                yield Outcome(row=row, problem=f"{type(error).__name__}: {error}")

    def _outcome(self, row: Row, answer: Answer) -> Outcome:
        record = self._log.find(answer.decision)
        reason, rule, expected = str(record.get("reason", "")), str(record.get("rule", "")), row.expected
        by_itself = self._layout.front in REFUSE_THEMSELVES and answer.status >= HTTPStatus.BAD_REQUEST
        if by_itself and not answer.decision and " " in expected:
            reason = "refused by the front"
            expected = f"{expected.split()[0]} {reason}"
        found = " ".join(part for part in (str(answer.status), reason, rule) if part)
        problem = row.check(answer) if found == expected else f"{found} instead of {row.expected}"
        return Outcome(row=row, answer=str(answer.status), reason=reason, rule=rule, problem=problem)

    def _rows(self) -> Iterator[Row]:
        return self._through_a_front() if self._layout.front else self._through_envoy()

    def _through_a_front(self) -> Iterator[Row]:
        """What any front must get right: callers of Airflow with a bearer token."""
        yield from self._people()
        yield from self._services()
        yield from self._bad_tokens()
        yield from self._tricks()
        yield from self._live_changes(calls=False)
        yield self._run_succeeds()

    def _through_envoy(self) -> Iterator[Row]:
        yield from self._people()
        yield from self._services()
        yield from self._outbound.triggers()
        # While Airflow starts the tasks of these runs:
        yield from login_rows(self._layout)
        yield from self._bad_tokens()
        yield from self._tricks()
        yield from self._outbound.direct()
        yield from self._outbound.of_tasks()
        yield from self._live_changes(calls=True)
        yield from self._outbound.breaker()
        yield self._run_succeeds()
        yield self._outbound.story("finance-etl", "finance_orders")

    def _run_succeeds(self) -> Row:
        return Row(
            "sales-etl",
            "its run of sales_daily succeeds",
            "200 rule sales-trigger",
            self._finished_run,
            lambda answer: _state(answer, "success"),
        )

    def _people(self) -> Iterator[Row]:
        ann = partial(self._asker.person, "ann")
        yield Row("anonymous", "health", "200 public health", lambda: self._asker.gate("/api/v2/monitor/health"))
        yield Row("anonymous", "list DAGs", "401 no_token", lambda: self._asker.gate(DAGS))
        yield Row("ann (viewer)", "list DAGs", "200 rule airflow.viewer", lambda: ann(DAGS), _lists_both_dags)
        yield Row("ann (viewer)", "trigger sales_daily", "403 no_rule", lambda: ann(runs("sales_daily"), **TRIGGER))
        yield Row("nina (no groups)", "list DAGs", "403 no_role", lambda: self._asker.person("nina", DAGS))
        yield Row(
            "olga (op)", "list connections", "200 rule airflow.op", lambda: self._asker.person("olga", CONNECTIONS)
        )

    def _services(self) -> Iterator[Row]:
        sales = partial(self._asker.service, "sales-etl")
        yield Row(
            "sales-etl",
            "trigger sales_daily",
            "200 rule sales-trigger",
            lambda: sales(runs("sales_daily"), **TRIGGER),
            self._remember_run,
        )
        yield Row("sales-etl", "trigger finance_close", "403 no_rule", lambda: sales(runs("finance_close"), **TRIGGER))
        yield Row(
            "copilot (agent)",
            "delete a run",
            "403 deny_rule agents-never-delete",
            lambda: self._asker.service("copilot", f"{runs('sales_daily')}/x", method="DELETE"),
        )

    def _bad_tokens(self) -> Iterator[Row]:
        token = self._issuer.token
        for name, reason, make in (
            ("an expired token", "expired", lambda: token(user="ann", expires_in=-120)),
            ("a token for another audience", "audience", lambda: token(user="ann", audience="elsewhere")),
            ("a token that lives a day", "lifetime_too_long", lambda: token(user="ann", expires_in=86_400)),
            ("a forged signature", "bad_signature", lambda: forged(token(user="ann"))),
            ("`alg: none`", "algorithm", lambda: unsigned(token(user="adam"))),
        ):
            yield Row("ann or not?", f"list DAGs with {name}", f"401 {reason}", partial(self._with, make))

    def _with(self, make: Callable[[], str]) -> Answer:
        return self._asker.gate(DAGS, token=make())

    def _tricks(self) -> Iterator[Row]:
        ann = partial(self._asker.person, "ann")
        yield Row(
            "anonymous",
            "list DAGs, spoofed identity",
            "401 no_token",
            lambda: self._asker.gate(DAGS, headers=spoofed()),
        )
        yield Row(
            "ann (viewer)",
            "who am I, spoofed identity",
            "200 rule airflow.viewer",
            lambda: ann("/ui/auth/me", headers=spoofed()),
            lambda answer: "" if answer.json()["username"] == "ann" else "Airflow saw another user",
        )
        dots = "403 no_rule" if self._layout.front in RESOLVE_DOTS else "400 bad_path"
        yield Row("ann (viewer)", "GET /api/v2/dags/../connections", dots, lambda: ann(f"{DAGS}/../connections"))
        yield Row(
            "ann (viewer)", "GET /api/v2/dags/..%2fconnections", "400 bad_path", lambda: ann(f"{DAGS}/..%2fconnections")
        )
        yield Row("adam (admin)", "list DAGs at Airflow itself, past the gate", "401", self._past_the_gate)

    def _past_the_gate(self) -> Answer:
        token = self._issuer.token(user="adam")
        return ask(Asked(port=self._layout.ports.airflow, target=DAGS, token=token))

    def _live_changes(self, *, calls: bool) -> Iterator[Row]:
        """`calls`: of tasks too."""
        before = self._layout.policy.read_text()
        add, remove = partial(self._edited, before + EXTRA_RULES, 200), partial(self._edited, before, 403)
        yield Row("sales-etl", "read finance_close", "403 no_rule", self._read_finance)
        yield Row("sales-etl", "read finance_close, rules added live", "200 rule open-house", add)
        if calls:
            yield self._outbound.trigger("finance-etl", "finance_orders")
        yield Row("ann (viewer)", "list DAGs, key rotated", "200 rule airflow.viewer", self._after_rotation)
        if calls:
            yield self._outbound.after_the_edit()
        yield Row("sales-etl", "read finance_close, rule removed live", "403 no_rule", remove)

    def _read_finance(self) -> Answer:
        return self._asker.service("sales-etl", f"{DAGS}/finance_close")

    def _edited(self, policy: str, wanted: int) -> Answer:
        answers: list[Answer] = []

        def changed() -> bool:
            answers.append(self._read_finance())
            return answers[-1].status == wanted

        self._layout.save_policy(policy)
        until(changed, LIVE_WITHIN_S)
        return answers[-1]

    def _after_rotation(self) -> Answer:
        self._issuer.rotate()
        return self._asker.person("ann", DAGS)

    def _remember_run(self, answer: Answer) -> str:
        self._run_id = answer.json()["dag_run_id"]
        return ""

    def _finished_run(self) -> Answer:
        answers: list[Answer] = []

        def finished() -> bool:
            answers.append(self._asker.service("sales-etl", f"{runs('sales_daily')}/{self._run_id}"))
            return (answers[-1].json() or {}).get("state") in {"success", "failed"}

        until(finished, RUN_WITHIN_S)
        return answers[-1]


def _asker(layout: Layout, issuer: Issuer) -> Asker:
    if not layout.front:
        return Asker(port=layout.ports.gate, issuer=issuer)
    tls = ssl.create_default_context(cafile=str(layout.certificate))
    return Asker(port=layout.ports.front, issuer=issuer, tls=tls)


def _state(answer: Answer, wanted: str) -> str:
    state = answer.json()["state"]
    return "" if state == wanted else f"the run's state is {state}"


def _lists_both_dags(answer: Answer) -> str:
    found = {dag["dag_id"] for dag in answer.json()["dags"]}
    return "" if {"sales_daily", "finance_close"} <= found else f"the list has {sorted(found)}"


def forged(token: str) -> str:
    """Return the token signed again with the attacker's key, under the real `kid`."""
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256", headers=header)


def unsigned(token: str) -> str:
    """Return the token with `alg: none` and no signature."""
    header = {**jwt.get_unverified_header(token), "alg": "none"}
    return f"{_segment(header)}.{token.split('.')[1]}."


def spoofed() -> dict[str, str]:
    """Return headers that claim to be the admin."""
    assertion = f"{_segment({'alg': 'none', 'typ': 'authz-assertion+jwt'})}.{_segment({'sub': 'user-adam'})}."
    return {"x-authz-user": "adam", "x-authz-roles": "admin", "x-authz-assertion": assertion}


def _segment(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
