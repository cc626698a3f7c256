"""What a check leaves in the decision log: the decision, and who asked, once for each session and file."""

import gc
import json
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from authz.authn.sessions import Session
from authz.check.recorder import Recorder
from authz.core.model import HeldGrant, Plane
from authz.ops.decision_log import DecisionSink
from tests.e2e.envoy_harness import wait_for
from tests.support.factories.decision_logs import Writer, claims, request
from tests.support.factories.proofs import CLAIM, task_key, thumbprint
from tests.support.factories.tokens import ISS, NOW
from tests.support.rigs.run import HOST, RunRig, basic
from tests.support.rigs.service import POLICY, Rig, load, read
from tests.support.simulators.idp import PATIENCE_S
from tests.unit.check.test_sign_out import LOGOUT, SIGNOUT

LARGE = 16 * 1024  # characters of a token from which on its groups are not kept


@pytest.fixture
def rig():
    return Rig()


@pytest.fixture
def runs(tmp_path):
    with RunRig(tmp_path) as rig:
        yield rig


def types(file):
    return [json.loads(line)["type"] for line in file]


def consistent(files):
    """Every decision that names an entry comes after that entry of the same worker, in its own file."""
    for file in files:
        seen = set()
        for line in map(json.loads, file):
            assert line["v"] == 1
            if line["type"] == "identity":
                seen.add((line["worker"], line["id"]))
            elif line.get("identity"):
                assert (line["worker"], line["identity"]) in seen
    return True


class TestDecision:
    def test_it_says_from_which_gate_and_worker_it_is(self):
        rig = Rig()
        rig.service._recorder = Recorder(rig.sink, gate="blue", worker=3)
        for _ in range(3):  # seen for the first time, prepared, remembered
            rig.check(token=rig.token())
            assert (rig.record["gate"], rig.record["worker"], rig.record["v"]) == ("blue", 3, 1)
        assert (rig.sink.entries[0]["gate"], rig.sink.entries[0]["worker"]) == ("blue", 3)

    def test_it_has_the_upstream_that_envoy_names_also_from_memory(self, rig):
        token = rig.token()
        for upstream in ("one", "one", "one", "two", "", "one"):
            rig.check(token=token, audience=upstream)
            assert rig.record["upstream"] == upstream

    def test_the_time_is_iso_8601_in_utc(self, rig):
        rig.clock.set_wall(1795315175.1651332)
        rig.check()
        assert rig.record["time"] == "2026-11-22T02:39:35.165133Z"

    @pytest.mark.parametrize(
        ("request_parts", "parts", "told"),
        [
            (("GET", "/api/v2/dags"), {}, {}),
            (("GET", "/api/v2/dags"), {"host": "gate.test:8443"}, {"port": 8443}),
            (("GET", "/airflow/api/v2/dags"), {"base": "/airflow"}, {"base": "/airflow"}),
            (("GET", "/api/v2/dags"), {"dags": "narrowed"}, {"narrowed": True}),
            (("GET", "/api/../x"), {"base": "/airflow", "dags": "narrowed", "host": "gate.test:1"}, {}),
        ],
    )
    def test_it_has_what_the_request_has_and_no_more(self, rig, request_parts, parts, told):
        token = rig.token()
        for _ in range(3):
            rig.check(*request_parts, token=token, **parts)
            found = {name: rig.record[name] for name in ("port", "base", "narrowed") if name in rig.record}
            assert found == told


class TestEntry:
    def test_it_comes_before_the_first_decision_of_a_session_and_once(self, rig):
        token = rig.token(groups=["b", "data-readers", "a"], realm_access=None)
        for _ in range(3):
            assert rig.check(token=token).allowed
        assert types(rig.sink.files[0]) == ["identity", "decision", "decision", "decision"]
        [entry] = rig.sink.entries
        assert {name: entry[name] for name in ("issuer", "subject", "client", "user", "groups")} == {
            "issuer": ISS,
            "subject": "alice",
            "client": "cli",
            "user": "alice.a",
            "groups": ["a", "b", "data-readers"],
        }
        assert {record["identity"] for record in rig.sink.records} == {entry["id"]}

    def test_the_same_caller_has_the_same_id_in_every_session_and_worker(self, rig):
        other = Rig()
        for one in (rig, other):
            for number in range(2):
                one.check(token=one.token(jti=str(number)))
        assert len({record["identity"] for one in (rig, other) for record in one.sink.records}) == 1
        assert len(rig.sink.entries) == 2, "once for each session"

    def test_a_denied_caller_has_one_and_one_that_is_not_known_has_none(self, rig):
        rig.check("GET", "/api/v2/variables", token=rig.token())
        assert rig.record["identity"] == rig.sink.entries[0]["id"]
        for token in (None, "x.y.z", rig.token(aud="other")):
            rig.check("GET", "/api/v2/monitor/health" if token is None else "/api/v2/dags", token=token)
            assert rig.record["identity"] == ""
        assert len(rig.sink.entries) == 1

    def test_each_file_has_it_before_its_first_decision(self, rig):
        tokens = [rig.token(sub=name) for name in ("alice", "bob")]
        for _ in range(3):
            for _ in range(3):
                for token in tokens:
                    rig.check(token=token)
            rig.check()
            rig.sink.offers.append([])
        assert len(rig.sink.files) == 3
        assert [types(file).count("identity") for file in rig.sink.files] == [2, 2, 2]
        assert consistent(rig.sink.files)

    @pytest.mark.parametrize("how", ["failing", "dropping"])
    def test_it_is_written_again_if_the_log_did_not_take_it(self, rig, how):
        token = rig.token()
        setattr(rig.sink, how, True)
        rig.check(token=token)
        assert rig.sink.files == [[]]
        setattr(rig.sink, how, False)
        for _ in range(2):
            rig.check(token=token)
        assert types(rig.sink.files[0]) == ["identity", "decision", "decision"]

    def test_another_policy_does_not_change_who_it_is(self, rig):
        token = rig.token()
        before = [rig.check(token=token) and rig.record for _ in range(2)]
        rig.policy = type(rig)(POLICY.replace("data-readers", "nobody")).policy
        after = [rig.check(token=token) and rig.record for _ in range(2)]
        assert (before[1]["roles"], after[1]["roles"]) == (["viewer"], [])
        assert len({record["identity"] for record in (*before, *after)}) == 1
        assert len(rig.sink.entries) == 1

    def test_ids_are_remembered_for_some_and_made_again_for_others(self, rig, monkeypatch):
        monkeypatch.setattr("authz.check.recorder._MOST_KNOWN", 2)
        tokens = {name: rig.token(sub=name) for name in "abcd"}
        first = {}
        for number in range(3):
            for name, token in tokens.items():
                rig.check("GET", f"/api/v2/dags/{number}", token=token)
                assert first.setdefault(name, rig.record["identity"]) == rig.record["identity"]
                assert len(rig.service._recorder._known) <= 2
        assert len(rig.sink.entries) == 4


class TestLargeToken:
    """The groups of a large token are not kept with its session."""

    @pytest.fixture
    def rig(self):
        return Rig(max_token_bytes=99_999)

    def large(self, rig, **changes):
        return rig.token(groups=["data-readers", *(f"group-{n:05}" for n in range(1200))], **changes)

    def test_its_entry_has_all_groups_in_every_file(self, rig):
        token = self.large(rig)
        assert len(token) > LARGE
        for _ in range(2):
            for number in range(3):
                rig.service._recorder._known.clear()  # others came in between
                assert rig.check("GET", f"/api/v2/dags/{number}", token=token).allowed
            rig.sink.offers.append([])
        [session] = rig.authenticator._sessions._kept.values()
        assert not session.whole
        assert session.claims.groups == frozenset()
        assert [types(file).count("identity") for file in rig.sink.files] == [1, 1]
        assert [len(entry["groups"]) for entry in rig.sink.entries] == [1202, 1202]
        assert len({record["identity"] for record in rig.sink.records}) == 1
        assert rig.lookups.count("miss") == 1

    def test_a_sign_out_that_waits_while_a_new_file_begins(self, rig):
        token = self.large(rig)
        parked = rig.ask(*LOGOUT, token=token, **SIGNOUT)
        rig.sink.offers.append([])
        rig.check()
        parked.begin(lambda: None)
        assert read(parked.resume()).http == 302
        assert [types(file) for file in rig.sink.files] == [[], ["decision", "identity", "decision"]]
        assert consistent(rig.sink.files)


class TestRealFiles:
    """With the sink that serves: the writer opens the next file at any moment between two steps of a check."""

    @pytest.fixture
    def workers(self, tmp_path):
        """Two services that write to one file."""
        rigs = [Rig(), Rig()]
        sinks = [DecisionSink(tmp_path / "log", lock=tmp_path / "lock") for _ in rigs]
        for number, (rig, sink) in enumerate(zip(rigs, sinks, strict=True)):
            rig.service._recorder = Recorder(sink, gate="gate-1", worker=number)
        yield rigs, sinks
        for sink in sinks:
            assert sink.close(PATIENCE_S) == 0

    def files(self, folder):
        return [file.read_bytes().splitlines() for file in folder.glob("log*")]

    def moved(self, folder, sinks):
        """The file gets another name, and each of these writers has opened the next one, which nothing was put into."""
        for sink in sinks:
            sink.turn()
        (folder / "log").rename(folder / f"log.{len(list(folder.iterdir()))}")
        for sink in sinks:
            self.noticed(sink)
            assert sink.offers

    def noticed(self, sink):
        """The writer has opened what has the log's name now."""
        sink.reopen()
        newest = sink._files
        wait_for(lambda: newest._newest.target.is_in_place(), "no next file", pause=time.sleep)  # noqa: PLW0108 it changes

    def test_the_next_file_comes_between_two_checks(self, workers, tmp_path):
        rigs, sinks = workers
        tokens = [rigs[0].token(sub=name) for name in "ab"]
        for _ in range(3):
            for rig in rigs:
                for token in tokens * 2:
                    assert rig.check(token=token).allowed
            self.moved(tmp_path, sinks)
        for sink in sinks:
            assert sink.flush(PATIENCE_S)
        assert consistent(self.files(tmp_path))
        assert sum(types(file).count("decision") for file in self.files(tmp_path)) == 24
        assert sum(types(file).count("identity") for file in self.files(tmp_path)) == 12

    def test_the_next_file_comes_within_a_check(self, workers, tmp_path):
        """After the number of the file was read, and before the line is put."""
        rigs, sinks = workers
        rig, sink, put = rigs[0], sinks[0], sinks[0].put
        token = rig.token()

        def late(lines):
            self.moved(tmp_path, [sink])
            return put(lines)

        for interrupted in (True, False, False, True, True, False):
            sink.put = late if interrupted else put
            assert rig.check(token=token).allowed
        assert sink.flush(PATIENCE_S)
        assert consistent(self.files(tmp_path))
        assert sum(types(file).count("decision") for file in self.files(tmp_path)) == 6
        assert len(self.files(tmp_path)) == 4

    def test_one_worker_notices_later_than_the_other(self, workers, tmp_path):
        rigs, sinks = workers
        token = rigs[0].token()
        for late in (0, 1, 0):
            for rig in rigs:
                rig.check(token=token)
            (tmp_path / "log").rename(tmp_path / f"log.{len(list(tmp_path.iterdir()))}")
            self.noticed(sinks[1 - late])
            for rig in rigs:
                rig.check(token=token)  # the late one still has the old file
            self.noticed(sinks[late])
        for sink in sinks:
            assert sink.flush(PATIENCE_S)
        assert consistent(self.files(tmp_path))
        assert sum(types(file).count("decision") for file in self.files(tmp_path)) == 12


class TestOutbound:
    def test_a_service_account_has_one_whatever_header_it_uses(self, runs):
        token = runs.token(client_id="sales-etl", aud="airflow-egress")
        for line in (f"Bearer {token}".encode(), basic(token)):
            headers = [("proxy-authorization", line)]
            assert runs.check("GET", "/v1/orders", headers=headers, plane="egress", host=HOST).allowed
            runs.sink.offers.append([])
        assert [types(file) for file in runs.sink.files] == [["identity", "decision"]] * 2
        assert consistent(runs.sink.files)
        assert runs.record["identity"] == runs.sink.entries[0]["id"]
        assert runs.sink.entries[0]["client"] == "sales-etl"

    def test_it_has_one_for_all_runs_that_it_speaks_for(self, runs):
        key = task_key("account")
        token = runs.token(client_id="sales-etl", aud="airflow-egress", cnf={"jkt": thumbprint(key)})
        for number in (1, 1, 2):
            assert runs.call(token, key, airflow={**CLAIM, "try_number": number}).allowed
            assert runs.record["run"]["try_number"] == number
        assert types(runs.sink.files[0]) == ["identity", "decision", "decision", "decision"]
        assert consistent(runs.sink.files)

    def test_a_large_token_in_any_header(self, runs):
        runs.authenticator._max_token_bytes = runs.authenticator._longest_line = 99_999
        key = task_key("account")
        groups = [f"group-{number:05}" for number in range(1300)]
        token = runs.token(client_id="sales-etl", aud="airflow-egress", groups=groups, cnf={"jkt": thumbprint(key)})
        plain = runs.token(client_id="sales-etl", aud="airflow-egress", groups=groups, jti="plain")
        assert len(token) > LARGE
        for _ in range(2):
            assert runs.call(token, key, airflow=CLAIM).allowed
            assert runs.call(plain).allowed
            runs.sink.offers.append([])
        assert [types(file).count("identity") for file in runs.sink.files] == [2, 2]
        assert {len(entry["groups"]) for entry in runs.sink.entries} == {1301}
        assert len({record["identity"] for record in runs.sink.records}) == 1

    def test_a_run_with_a_token_of_the_gate_needs_none(self, runs):
        token = runs.token_of(runs.airflow.add())
        assert runs.call(token).allowed
        assert (runs.record["identity"], runs.record["run"]["dag_id"]) == ("", "sales_daily")
        assert runs.sink.entries == []


# --- the schema


SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parents[3] / "docs" / "decision-log.schema.json").read_text()),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)


def test_every_line_fits_the_schema_that_is_published(runs):
    runs.check(token=runs.token(), dags="narrowed", host="gate.test:8443")
    runs.check("GET", "/airflow/api/v2/dags", base="/airflow")
    runs.check("GET", "/api/../x", token="x.y.z")
    runs.service.check(b"\xff")
    runs.service.overloaded()
    task = runs.airflow.add()
    assert runs.call(runs.token_of(task)).allowed
    assert runs.call(None).http == 401
    found = {json.loads(line)["type"] for line in runs.sink.files[0]}
    assert found == {"identity", "decision"}
    for line in runs.sink.files[0]:
        SCHEMA.validate(json.loads(line))


@pytest.mark.parametrize("name", ["v", "type", "time", "host", "rule", "worker"])
def test_a_line_without_a_field_does_not_fit(rig, name):
    rig.check(token=rig.token())
    record = {key: value for key, value in rig.record.items() if key != name}
    assert not SCHEMA.is_valid(record)
    assert not SCHEMA.is_valid({**rig.record, name: {}})


def test_lines_and_fields_of_tomorrow_fit(rig):
    rig.check(token=rig.token())
    assert SCHEMA.is_valid({"v": 1, "type": "checkpoint", "size": 7})
    assert SCHEMA.is_valid({**rig.record, "signature": "x"})


# --- what it costs


OLD_BYTES = {"read": 532, "denied": 540, "anonymous": 442, "outbound": 686}
"""What these decisions took before the format had a version."""
TRACE = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
PERSON = "8f14e45f-ceea-467f-a0e6-5d2f8c1b9a3e"
INSTANCE = "0199f3c2-7d1e-7b3a-9c55-2f6f5e4d3c2b"


def test_a_decision_takes_at_most_a_quarter_more_than_it_did(runs):
    runs.service._recorder = Recorder(runs.sink, gate="authz-7d9f8b6c5d-x2x4z", worker=0)
    runs.clock.set_wall(NOW + 0.165133)
    token = runs.token(sub=PERSON, client_id="airflow")
    asked = {"headers": [TRACE], "host": "airflow.example.com", "audience": "airflow"}
    bytes_of = {}
    for name, path, shown in (
        ("read", "/api/v2/dags", token),
        ("denied", "/api/v2/connections", token),
        ("anonymous", "/api/v2/dags", None),
    ):
        runs.check("GET", path, token=shown, **asked)
        bytes_of[name] = len(runs.sink.lines[-1])
    task = runs.airflow.add("sales_daily", "scheduled__2026-11-22T02:00:00+00:00", "load_orders", id=INSTANCE)
    assert runs.call(runs.token_of(task), headers=[TRACE]).allowed
    bytes_of["outbound"] = len(runs.sink.lines[-1])
    assert bytes_of.keys() == OLD_BYTES.keys()
    assert {name: found for name, found in bytes_of.items() if found > 1.25 * OLD_BYTES[name]} == {}


def test_a_session_remembers_one_number_of_its_entry(rig):
    """A hundred thousand sessions are kept: no id, no text and no entry of its own for each."""
    for number in range(3):
        rig.check(token=rig.token(jti=str(number)))
    sessions = list(rig.authenticator._sessions._kept.values())
    assert [session.entered for session in sessions] == [1, 1, 1]
    assert len(Session.__slots__) == 10
    held = {id(part) for session in sessions for part in gc.get_referents(session) if isinstance(part, str | bytes)}
    assert len(held) <= 1, "the thumbprint of none"


def test_a_decision_names_the_grants_of_a_caller_who_holds_some_and_no_other_record_changes():
    entry = '  - {id: more, requesters: [viewer], approvers: none, longest: 1d, operations: ["pools:read"]}'
    writer = Writer(load(f"{POLICY}grantable:\n{entry}\n"))
    ada, asked = claims(ISS, "ada"), request(Plane.INBOUND, "GET", "airflow.test", "/api/v2/pools")
    kept, open_one = (
        HeldGrant("more", "g-1", 1e10, 3600, is_approved=True),
        HeldGrant("more", "g-3", 1e10, 60, is_approved=False),
    )
    gone, longer = (
        HeldGrant("gone", "g-2", 1e10, 7, is_approved=True),
        HeldGrant("more", "g-4", 1e10, 86_401, is_approved=False),
    )
    writer.ask(asked, ada, grants=(gone, kept, open_one, longer))
    writer.ask(asked, ada)
    writer.ask(asked)
    entry, holding, *others = (json.loads(line) for line in b"".join(writer.sink.lines).splitlines())
    assert (entry["type"], "grants" in entry) == ("identity", False)
    assert holding["grants"] == [
        {"entry": "more", "id": "g-1", "seconds": 3600},
        {"entry": "more", "id": "g-3", "seconds": 60, "open": True},
    ]
    assert holding["suspended"] == [
        {"entry": "gone", "id": "g-2", "seconds": 7},
        {"entry": "more", "id": "g-4", "seconds": 86_401, "open": True},
    ]
    assert (holding["decision"], holding["rule"]) == ("allow", "grant/more")
    assert [one.keys() & {"grants", "suspended"} for one in others] == [set(), set()]
    assert all("grant" not in str(one) for one in others)
    SCHEMA.validate(holding)
    for name in ("grants", "suspended"):
        assert not SCHEMA.is_valid({**holding, name: [{"entry": "more", "id": "g-1"}]})
