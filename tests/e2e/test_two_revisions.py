"""The gate before this one and this one behind one Envoy, while the policy changes and they take each other's place.

Each gate has the policy in a file of its own, and both files change at once. A gate that does not know a word of a
policy keeps the one that it had. So at some moments two policies are in force, and every answer must be right under the
one whose revision its record has, which must have been in force in that gate while the client waited.
"""

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from authz.core import assertion
from tests.e2e.callers import Callers
from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY, SETTINGS
from tests.e2e.raw_http import Connection, request
from tests.e2e.stack import AUDIENCE, Stack
from tests.support import revisions

pytestmark = pytest.mark.e2e

OURS = Path(sys.executable).with_name("authz")
CLIENTS = 2
PAUSE_S = 0.01  # of a client between two requests
# As docs/upgrade.md says: a state folder and a log for each, one key and one file of revocations for both.
WITH_FILES = (
    SETTINGS.replace("keys: [assertion.pem]", "keys: [../assertion.pem]")
    + "state: kept\nrevocation: {{file: ../revocations.jsonl}}\n"
)

# The newest word of the policy, and a rule that has it. A gate that knows it serves the policy like any other.
WORD = "variables:change"
RULES = {
    "base": "",
    "more": "  - {{id: more, plane: inbound, roles: [viewer], operations: [config:read]}}\n",
    "less": "  - {{id: less, deny: true, plane: inbound, roles: [op], operations: [pools:read]}}\n",
    "word": f'  - {{{{id: word, plane: inbound, roles: [viewer], operations: ["{WORD}"]}}}}\n',
}
READER = {"groups": ["data-readers"], "realm_access": None}
POST = {"method": "POST"}
ASKED = {
    "list": ("/api/v2/dags", "person", {}),
    "config": ("/api/v2/config", "person", {}),
    "pools": ("/api/v2/pools", "person", {}),
    "delete": ("/api/v2/variables/x", "reader", {"method": "DELETE"}),
    "trigger": ("/api/v2/dags/sales_daily/dagRuns", "etl", POST),
    "other": ("/api/v2/dags/finance/dagRuns", "etl", POST),
    "anonymous": ("/api/v2/dags", "", {}),
}
BASE = {"list": 200, "config": 403, "pools": 200, "delete": 403, "trigger": 200, "other": 403, "anonymous": 401}
RIGHT = {
    "base": BASE,
    "more": {**BASE, "config": 200},
    "less": {**BASE, "pools": 403},
    "word": {**BASE, "delete": 200},
}
# Code of either tree: what its auth manager reads in assertions.
READ = """
import json, sys
from authz.airflow import verifier
asked = json.load(sys.stdin)
keys, expected = verifier.parse_keys(asked["keys"].encode()), verifier.Expected(**asked["expected"])
for token in asked["tokens"]:
    read = verifier.verify(token, keys, expected, asked["now"])
    print(read.username, read.airflow_role, *read.dags.allowed, *sorted(read.roles))
"""
SAID = "alice.a op * op viewer\netl user sales_* sales-etl\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client got, and when it asked."""

    number: int
    question: str
    began: float
    ended: float
    status: int
    decision: str | None


class Clients(Callers):
    """Clients that ask every question in turn, each request under a number of its own."""

    def __init__(self, stack):
        self.answers = []
        self._stack = stack
        self._lock, self._number = threading.Lock(), 0
        tokens = {"person": stack.token(), "reader": stack.token(**READER), "etl": stack.etl(aud="airflow")}
        self._asked = [
            (question, target, (f"Authorization: Bearer {tokens[who]}",) if who else (), parts)
            for question, (target, who, parts) in ASKED.items()
        ]
        super().__init__(CLIENTS)

    def more(self, rounds=3):
        """Wait until every question was asked so many times more by as many as there are clients."""
        wanted = len(self.answers) + rounds * len(ASKED) * CLIENTS
        wait_for(lambda: len(self.answers) >= wanted, "the clients stand still", pause=self._stack.envoy.pause)

    def call_on(self):
        with Connection(self._stack.envoy.inbound) as connection:
            while not self.ended.is_set():
                for question, target, headers, parts in self._asked:
                    with self._lock:
                        self._number = number = self._number + 1
                    began = time.monotonic()
                    connection.send(request(f"{target}?n={number}", *headers, **parts))
                    answer = connection.response()
                    self.answers.append(
                        Answer(
                            number=number,
                            question=question,
                            began=began,
                            ended=time.monotonic(),
                            status=answer.status,
                            decision=answer.header("x-authz-decision"),
                        )
                    )
                    self.ended.wait(PAUSE_S)


class Pair:
    """Both gates of a stack; for each, the times in which a policy may have been in force there."""

    def __init__(self, stack):
        self.stack = stack
        self.texts = {name: (POLICY + rules).format(issuer=stack.idp.url) for name, rules in RULES.items()}
        self._revisions = {name: sha256(text.encode()).hexdigest() for name, text in self.texts.items()}
        self._written = "base"
        self._times = [[] for _ in stack.gates]  # [policy, from, until]
        self.edit("base")

    def edit(self, name, *, refused_by=()):
        """Both files have that policy now, and it is in force, but for the gates that refuse it."""
        self._written, began = name, time.monotonic()
        for gate in self.stack.gates:
            draft = gate.policy.with_suffix(".draft")
            draft.write_text(self.texts[name])
            draft.replace(gate.policy)
        for gate in self.stack.gates:
            if gate in refused_by:
                gate.until(lambda here=gate: reasons(here), "the word is not refused")
            else:
                self._await(gate, began)

    def replace(self, gate, program):
        """Another revision takes the place of this gate, as `systemctl restart` does, while the other one serves."""
        self._until_healthy()
        assert gate.stop() == 0
        gate.program, began = program, time.monotonic()
        gate.start()
        self._await(gate, began)
        self._until_healthy()

    def wrong(self, answers):
        """Answers that are not those of the policy in their record, or of one that was not in force there, and requests
        that reached the upstream though the answer was another one, or did not reach it.
        """
        names = {revision: name for name, revision in self._revisions.items()}
        records = {
            record["id"]: (names[record["revision"]], times)
            for gate, times in zip(self.stack.gates, self._times, strict=True)
            for record in gate.decisions
        }
        reached = [int(received.target.partition("?n=")[2]) for received in self.stack.upstream.requests]
        assert len(set(reached)) == len(reached), "the upstream got a request two times"
        passed = set(reached)
        for answer in answers:
            policy, times = records.get(answer.decision, ("", ()))
            in_force = any(
                name == policy and begun <= answer.ended and answer.began <= ended for name, begun, ended in times
            )
            right = in_force and RIGHT[policy][answer.question] == answer.status
            if not right or (answer.number in passed) != (answer.status == 200):
                yield answer, policy

    def _await(self, gate, began):
        """Until this gate serves what was written, from that time on."""
        wanted = self._revisions[self._written]
        gate.until(lambda: gate.get("/readyz").json()["revision"] == wanted, f"{self._written} is not in force")
        times = self._times[self.stack.gates.index(gate)]
        if times:
            times[-1][2] = time.monotonic()
        times.append([self._written, began, float("inf")])

    def _until_healthy(self):
        wait_for(lambda: self.stack.envoy.healthy("authz"), "Envoy does not find both", pause=self.stack.envoy.pause)


def reasons(gate):
    """What a gate that serves says is wrong."""
    page = gate.get("/readyz")
    assert page.status_code == 200
    return "\n".join(page.json()["reasons"])


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The tree of the revision before this one, and its command `authz`."""
    folder = tmp_path_factory.mktemp("before")
    tree = revisions.unpacked(revisions.before(), folder / "tree")
    return tree, revisions.program(tree, folder)


@pytest.fixture(scope="module", params=["before", "ours"])
def stack(request, before, tmp_path_factory):
    """Two gates behind one Envoy; the first is the one before. Either has rendered Envoy's configuration."""
    folder, (_, program) = tmp_path_factory.mktemp("two"), before

    def rendered_before(config):
        command = [program, "envoy", "--settings", folder / "of-envoy.yaml", "--output", folder / "before.yaml"]
        subprocess.run(command, check=True, capture_output=True)
        config.clear()
        config.update(yaml.safe_load((folder / "before.yaml").read_text()))

    key = folder / "assertion.pem"
    key.touch(mode=0o600)
    key.write_bytes(assertion.generate_pem())
    alter = {"alter": rendered_before} if request.param == "before" else {}
    made = Stack(folder, gates=2, settings=WITH_FILES, envoy=alter)
    made.gates[0].program = program
    with made as stack:
        yield stack


def assertion_of(stack, gate, question):
    """What that gate tells Airflow about the question's caller."""
    target, who, parts = ASKED[question]
    token = stack.etl(aud="airflow") if who == "etl" else stack.token()
    found = []

    def asked():
        answer = stack.get(target, token=token, **parts)
        recorded = {record["id"] for record in gate.decisions}
        found[:] = [
            received.all("x-authz-assertion")[0]
            for received in stack.upstream.requests
            if received.all("x-authz-decision")[0] in recorded
        ]
        return answer.status == 200 and found

    stack.reset()
    gate.until(asked, "the gate is not asked")
    return found[-1]


def test_auth_managers_of_both_revisions_read_the_assertions_of_both_gates(stack, before):
    tree, _ = before
    for gate in stack.gates:
        expected = {"issuer": "https://gate.test", "audience": AUDIENCE, "clock_skew": 5}
        tokens = [assertion_of(stack, gate, question) for question in ("list", "trigger")]
        asked = {"keys": gate.get("/jwks.json").text, "expected": expected, "tokens": tokens, "now": time.time()}
        for place in (tree, revisions.ROOT):
            read = subprocess.run(
                [sys.executable, "-P", "-c", READ],
                input=json.dumps(asked),
                env={"PYTHONPATH": str(place)},
                capture_output=True,
                text=True,
                check=True,
            )
            assert read.stdout == SAID


def test_a_token_that_either_gate_revokes_is_refused_by_both(stack, before):
    _, program = before
    for number, (command, gate) in enumerate(((program, stack.gates[0]), (OURS, stack.gates[1]))):
        token = stack.token(jti=f"revoked-{number}")
        assert stack.get("/api/v2/dags", token=token).status == 200
        which = ("--settings", gate.settings, "--issuer", "corp", "--jti", f"revoked-{number}")
        subprocess.run([command, "revoke", *which], check=True, capture_output=True)
        known = {record["id"] for one in stack.gates for record in one.decisions}

        def refused(known=known, token=token):
            stack.get("/api/v2/dags", token=token)
            fresh = [[record for record in one.decisions if record["id"] not in known] for one in stack.gates]
            return all(any(record["reason"] == "revoked" for record in records) for records in fresh)

        gate.until(refused, "it is not revoked at both")
        assert {stack.get("/api/v2/dags", token=token).status for _ in range(10)} == {401}


def test_this_revision_reproduces_what_the_gate_before_has_decided(stack):
    old, new = stack.gates
    for question in ("list", "trigger"):
        assertion_of(stack, old, question)  # asks until that gate has answered
    command = [
        OURS,
        "replay",
        old.folder / "decisions.jsonl",
        "--check",
        "--settings",
        new.settings,
        "--min-evaluated",
        "1",
    ]
    replayed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def test_no_answer_is_wrong_while_the_policy_changes_and_gates_are_upgraded_and_rolled_back(stack, before):
    _, program = before
    old, new = stack.gates
    pair = Pair(stack)
    refuse = [] if revisions.takes(program, pair.texts["word"], old.folder) else [old]
    stack.reset()
    with Clients(stack) as clients:
        for name in ("more", "base", "less", "base"):
            pair.edit(name)
            clients.more()
        pair.edit("word", refused_by=refuse)
        clients.more()
        assert all(WORD in reasons(gate) for gate in refuse)
        assert reasons(new) == ""
        pair.replace(old, OURS)  # the upgrade
        assert reasons(old) == "", "it knows the word"
        clients.more()
        pair.edit("base")  # the way back: first the policy, then the gates
        for gate in stack.gates:
            pair.replace(gate, program)
            assert reasons(gate) == "", "the one before reads what this one has kept"
            clients.more()
        pair.edit("word", refused_by=refuse and stack.gates)
        clients.more()
    for gate in stack.gates:
        gate.until(lambda here=gate: here.metric("authz_sink_queue") == 0, "records wait")
    assert list(pair.wrong(clients.answers)) == []
    answered = {answer.decision for answer in clients.answers}
    assert all(len(answered & {record["id"] for record in gate.decisions}) > 50 for gate in stack.gates)
