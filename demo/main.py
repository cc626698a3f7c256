"""`make demo`: start everything, take the tour, and stay up until Ctrl-C.

Law: whatever happens (Ctrl-C, SIGTERM, a child that dies, a failed row), every child has ended when this returns.
"""

import os
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console
from rich.status import Status
from rich.table import Table

from demo.children import ChildDiedError, Children, NotReadyError
from demo.files import DirectoryError, Layout, Ports, claim
from demo.fronts import STARTS, MissingServerError
from demo.stack import Stack
from demo.tour import Tour
from demo.tour_client import DecisionLog, Issuer
from demo.tour_rows import Outcome

LOOK_EVERY_S = 0.5
NARROWEST = 150
INTERRUPTED = 130
ASSERTED = (
    "Runs are `asserted` here, not `verified`: this Airflow's tasks can reach the key that signs task tokens"
    " (LocalExecutor), so any DAG author could read it. docs/run-identity.md says what `verified` needs."
)
LEFT_OUT = (
    "Left out: people who log in, and calls of tasks. They go through Envoy, which runs here too and whose tour has"
    " them: `make demo` without FRONT."
)


def run(*, tour_only: bool, directory: Path, front: str = "") -> int:
    """Run the demo; the exit status is 0 when every row of the tour was right. `front`: another one than Envoy."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    try:
        if front:
            STARTS[front](directory)  # raises if the server is not here
        with _terminated_like_interrupted(), claim(directory.resolve()):
            layout = Layout(directory=directory.resolve(), ports=Ports.free(), front=front)
            return _run(console, layout, tour_only=tour_only)
    except KeyboardInterrupt:
        console.print("Interrupted; everything that was started has ended.")
        return INTERRUPTED
    except (ChildDiedError, NotReadyError, DirectoryError, MissingServerError) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1


def _run(console: Console, layout: Layout, *, tour_only: bool) -> int:
    directory = layout.directory
    layout.write()
    trusted = ssl.create_default_context(cafile=str(layout.certificate)) if layout.front else True
    with Children(directory / "logs") as children, httpx.Client(trust_env=False, timeout=10, verify=trusted) as http:
        with console.status("Starting …") as status:
            Stack(layout=layout, children=children, say=_Progress(console, status), http=http).start()
            tour = Tour(layout, Issuer(url=layout.issuer, http=http), DecisionLog(layout.decisions))
            outcomes = []
            for outcome in tour.run():
                outcomes.append(outcome)
                status.update(f"Tour: {outcome.row.who}, {outcome.row.request}")
                children.check()
        failed = sum(1 for outcome in outcomes if outcome.problem)
        console.print(_table(outcomes, layout.front or "Envoy"))
        console.print(LEFT_OUT if layout.front else ASSERTED, markup=False, highlight=False)
        _print_problems(console, outcomes, directory)
        summary = f"tour: {len(outcomes) - failed} passed, {failed} failed"
        if tour_only:
            children.stop()
        else:
            print(summary, flush=True)
            _stay(console, layout, children)
    if tour_only:
        print(summary, flush=True)
    return 1 if failed else 0


class _Progress:
    """Shows what happens now: a spinner on a terminal, and a line with the time in any case."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console = console
        self._status = status
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._started:5.1f} s[/dim]  {text}", highlight=False)
        self._status.update(text)


def _table(outcomes: list[Outcome], front: str = "Envoy") -> Table:
    table = Table(title=f"The tour: real requests through {front}", title_justify="left", pad_edge=False)
    for name in ("", "who", "request", "expected", "answer", "reason", "rule"):
        table.add_column(name, overflow="fold")
    for outcome in outcomes:
        mark = "[red]wrong[/red]" if outcome.problem else "[green]✓[/green]"
        row = outcome.row
        table.add_row(mark, row.who, row.request, row.expected, outcome.answer, outcome.reason, outcome.rule)
    return table


def _print_problems(console: Console, outcomes: list[Outcome], directory: Path) -> None:
    wrong = [outcome for outcome in outcomes if outcome.problem]
    for outcome in wrong:
        text = f"wrong: {outcome.row.who}, {outcome.row.request}: {outcome.problem}"
        console.print(text, style="red", markup=False, highlight=False)
    if wrong:
        console.print(f"The logs of all parts are in {directory / 'logs'}.", highlight=False)


def _stay(console: Console, layout: Layout, children: Children) -> None:
    """Show how to try it by hand, and wait for Ctrl-C."""
    console.print(_guide(layout), markup=False, highlight=False, soft_wrap=True)
    try:
        while True:
            children.check()
            time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        console.print("\nStopping …")


def _guide(layout: Layout) -> str:
    token = f"curl -s -H 'content-type: application/json' -H 'accept: text/plain' {layout.issuer}/dev/token -d"
    curl = f"curl -i --cacert {layout.certificate}" if layout.front else "curl -i"
    return f"""
Everything stays up until Ctrl-C.

  Airflow, in a browser                  {layout.browse}

Sign in there with one click: Ann (viewer), Ben (user), Olga (op) and Adam (admin) see four different Airflows, Sam sees
the sales team's DAGs only, Nina nothing. To be another person, log out (User, at the bottom left). Chrome, Chromium,
Edge and Firefox keep the session's cookies without TLS on this machine; Safari does not.

  the gate (Envoy) in front of Airflow   {layout.gate}{_front(layout)}
  the gate for outbound calls            {layout.egress}
  the development provider               {layout.issuer}
  metrics, readiness, public keys        {layout.admin}/metrics  /readyz  /jwks.json
  policy (save a change: it is live)     {layout.policy}
  decisions, one JSON line each          {layout.decisions}
  what Envoy saw, one JSON line each     {layout.directory / "access.log"}
  logs of all parts                      {layout.directory / "logs"}

Try it:

  # a viewer lists DAGs (ann, ben, olga, adam, sam, nina have other groups)
  TOKEN=$({token} '{{"user": "ann"}}')
  {curl} -H "authorization: Bearer $TOKEN" {layout.for_programs}/api/v2/dags

  # a service account triggers its own DAG
  TOKEN=$({token} '{{"client": "sales-etl"}}')
  {curl} -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' \\
    -d '{{"logical_date": null}}' {layout.for_programs}/api/v2/dags/sales_daily/dagRuns

  # a task calls an internal service: trigger sales_orders in Airflow, look at its logs, and at what the service saw
  curl -s http://127.0.0.1:{layout.ports.orders}/seen

  # what is on record about a caller; of a run, it is `story DAG/RUN_ID`: who triggered it, and what its tasks did
  {sys.executable} -m authz audit story sales-etl {layout.audit_log}

  # so does a program with a token of its own
  TOKEN=$({token} '{{"client": "sales-etl", "audience": "airflow-egress"}}')
  curl -i -H "authorization: Bearer $TOKEN" {layout.orders_for_tasks}/v1/orders/7
"""


def _front(layout: Layout) -> str:
    if not layout.front:
        return ""
    return f"""
  {layout.front + " in front of Airflow":<39}{layout.for_programs} (bearer tokens only)
  its configuration and access log       {layout.front_folder}
  its certificate, for curl --cacert     {layout.certificate}"""


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
