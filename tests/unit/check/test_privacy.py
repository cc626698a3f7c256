"""What `log.privacy` hides is nowhere in the log, and no check waits in the serving thread for a salt."""

import json

import pytest

from authz.check import privacy as privacy_module
from authz.check.privacy import Privacy
from authz.check.redacting_recorder import RedactingRecorder
from authz.core.parked import Parked
from authz.core.record import PEOPLE, Redactor
from authz.core.replay import Gap, decide_again, rebuild
from tests.support.factories.proofs import CLAIM, task_key, thumbprint
from tests.support.factories.tokens import ISS, NOW, id_claims, make_key, sign
from tests.support.rigs.run import RunRig
from tests.support.rigs.service import KEY, POLICY, Rig, load, read, state_of
from tests.unit.check.test_recorder import SCHEMA, consistent, types
from tests.unit.check.test_sign_out import LOGOUT, SIGNOUT, Revoker

CANARIES = {"sub": "canary-subject", "client_id": "canary-client", "preferred_username": "canary-user"}
GROUPS = ["data-readers", "canary-group"]
ADDRESS = "192.0.2.7"
OTHER = make_key("ES256", kid="k2")


class Salts:
    """Salts in memory, which are made when a check begins to wait; none while `failing`."""

    def __init__(self, *, required=True):
        self.required = required
        self.common = "c0"
        self.erased = 0
        self.known = {}
        self.asked = []
        self.failing = False

    def of(self, issuer, subject):
        return self.known.get((issuer, subject))

    def make(self, issuer, subject, _done):
        self.asked.append((issuer, subject))
        if not self.failing:
            self.known[issuer, subject] = f"{len(self.asked):032}"
        return False

    def why(self):
        return "the disk is full" if self.failing else ""

    def erase(self, subject):
        del self.known[ISS, subject]
        self.erased += 1


def hiding(rig, *, drop=(), hashed=(), required=True):
    """The rig with a private log; its salts."""
    salts = Salts(required=required)
    privacy = Privacy(drop, hashed, salts if hashed else None)
    rig.service._privacy = privacy
    rig.service._recorder = RedactingRecorder(rig.sink, gate="gate-1", worker=0, privacy=privacy)
    return salts


@pytest.fixture
def rig():
    return Rig()


@pytest.fixture
def runs(tmp_path):
    with RunRig(tmp_path) as rig:
        yield rig


def canary_token(rig, **changes):
    return rig.token(**{**CANARIES, "groups": GROUPS, "realm_access": None, **changes})


def written(rig):
    return b"".join(line for file in rig.sink.files for line in file).decode()


def hashed_with(salt, name, value):
    return Redactor(frozenset(), frozenset([name]), salt).text(name, value)


class TestHashed:
    def test_the_first_check_of_a_subject_waits_for_its_salt_and_the_next_ones_do_not(self, rig):
        salts, token = hiding(rig, hashed=["subject"]), canary_token(rig)
        parked = rig.ask(token=token)
        assert isinstance(parked, Parked)
        assert not parked.counted, "only callers with a good token can cause this"
        assert (salts.asked, rig.sink.files) == ([], [[]])
        assert token not in repr(parked)
        assert rig.settle(parked).allowed
        assert salts.asked == [(ISS, "canary-subject")]
        for _ in range(3):
            assert isinstance(rig.ask(token=token), bytes)
        assert rig.check(token=canary_token(rig, jti="another")).allowed
        assert len(salts.asked) == 1

    def test_names_are_hashed_with_the_salt_of_their_subject(self, rig):
        salts = hiding(rig, hashed=PEOPLE)
        token = canary_token(rig)
        for _ in range(3):  # seen for the first time, prepared, remembered
            assert rig.check(token=token).allowed
            salt = salts.of(ISS, "canary-subject")
            assert rig.record["subject"] == hashed_with(salt, "subject", "canary-subject")
            assert rig.record["client"] == hashed_with(salt, "client", "canary-client")
            assert rig.record["source"] == hashed_with(salt, "source", ADDRESS)
            assert rig.record["roles"] == ["viewer"]
        [entry] = rig.sink.entries
        assert entry["user"] == hashed_with(salt, "user", "canary-user")
        assert set(entry["groups"]) == {hashed_with(salt, "groups", group) for group in GROUPS}
        assert entry["issuer"] == ISS
        assert "canary" not in written(rig)
        assert ADDRESS not in written(rig)
        assert consistent(rig.sink.files)

    def test_envoys_access_log_is_told_what_the_record_says(self, rig):
        hiding(rig, hashed=["subject"])
        token = canary_token(rig)
        for path in ("/api/v2/dags", "/api/v2/variables"):
            for _ in range(3):
                answer = rig.check("GET", path, token=token)
                assert answer.metadata["subject"] == rig.record["subject"]
                assert answer.metadata["subject"].startswith("sha256:")
        assert rig.check(token=token).set["x-authz-subject"] == "canary-subject", "Airflow knows who it is"

    def test_two_subjects_with_one_group_have_different_hashes(self, rig):
        hiding(rig, hashed=["groups"])
        for name in ("alice", "bob"):
            rig.check(token=rig.token(sub=name, realm_access=None))
        one, two = rig.sink.entries
        assert one["groups"] != two["groups"]

    def test_those_without_a_subject_never_wait(self, rig):
        salts = hiding(rig, hashed=PEOPLE)
        rig.check("GET", "/api/v2/monitor/health")
        rig.check(token="x.y.z")
        rig.check("GET", "/api/../x")
        read(rig.service.overloaded())
        rig.service._answers._minter = None
        rig.ask(token=None)
        assert salts.asked == []
        sources = {record["source"] for record in rig.sink.records}
        assert sources == {"", hashed_with("c0", "source", ADDRESS)}
        assert {record["subject"] for record in rig.sink.records} == {""}

    def test_a_bug_leaks_nothing(self, rig):
        hiding(rig, hashed=PEOPLE)
        rig.check(token=canary_token(rig))
        rig.service._answers._minter = None
        rig.ask("GET", "/api/v2/dags/x", token=canary_token(rig))
        assert rig.record["reason"] == "internal_error"
        assert "canary" not in written(rig)


class TestDropped:
    @pytest.mark.parametrize("name", [*PEOPLE, "path"])
    def test_a_field_is_left_out_everywhere(self, rig, name):
        hiding(rig, drop=[name])
        for _ in range(3):
            assert rig.check(token=canary_token(rig)).allowed
        rig.check()
        for line in map(json.loads, written(rig).splitlines()):
            assert name not in line
        value = {"subject": "canary-subject", "user": "canary-user", "client": "canary-client"}.get(name)
        assert value is None or value not in written(rig)

    def test_no_salt_is_asked_for(self, rig):
        hiding(rig, drop=PEOPLE)
        assert isinstance(rig.ask(token=canary_token(rig)), bytes)

    def test_the_id_of_an_entry_tells_nothing_that_is_left_out(self, rig):
        hiding(rig, drop=["subject", "user", "client", "groups"])
        rig.check(token=canary_token(rig))
        rig.check(token=rig.token())
        assert len({record["identity"] for record in rig.sink.records}) == 1
        assert "canary" not in written(rig)

    def test_envoys_access_log_is_told_nothing_either(self, rig):
        hiding(rig, drop=["subject"])
        assert rig.check(token=canary_token(rig)).metadata["subject"] == ""


BAD = {
    "audience": {"aud": "canary-audience"},
    "two clients": {"azp": "canary-client", "client_id": "canary-other"},
    "issuer": {"iss": "https://canary-issuer.test"},
    "expired": {"exp": NOW - 100, "iat": NOW - 200},
    "not yet": {"nbf": NOW + 100},
    "type": {"typ": "canary-type"},
    "token use": {"token_use": "canary-use"},
    "no subject": {"sub": ""},
    "long subject": {"sub": "canary" * 300},
    "groups": {"groups": {"canary": "group"}},
    "user": {"preferred_username": ["canary"]},
}


@pytest.mark.parametrize("hide", ["drop", "hashed"])
@pytest.mark.parametrize("bad", BAD)
def test_a_refused_token_is_not_quoted(rig, bad, hide):
    hiding(rig, **{hide: ["subject", "user", "client", "groups"]})
    answers = [
        rig.check(*request, token=canary_token(rig, **BAD[bad]), headers=headers, **parts)
        for request in (("GET", "/api/v2/dags"), LOGOUT)
        for headers in ([], [("accept", b"text/html")])
        for parts in ({}, SIGNOUT)
    ]
    assert not any(answer.allowed for answer in answers)
    assert "canary" not in written(rig)


@pytest.mark.parametrize("claims", [{"azp": "canary-client"}, {"aud": ["airflow", "canary-client"], "azp": "airflow"}])
def test_an_id_token_of_another_client_is_not_quoted(claims):
    rig = Rig(POLICY.replace("max_lifetime: 1h", "max_lifetime: 1h\n    tokens: [id]"))
    hiding(rig, hashed=["client"])
    answer = rig.check(token=sign(id_claims(**claims), KEY, {"typ": "JWT"}))
    assert (answer.http, answer.reason) == (401, "audience")
    assert "canary" not in written(rig)


def test_headers_of_a_refused_token_are_not_quoted(rig):
    hiding(rig, drop=["subject"])
    for headers in ({"typ": "canary"}, {"alg": "canary"}):
        assert rig.check(token=rig.token(headers=headers)).http == 401
    assert read(rig.ask(token=rig.token(headers={"kid": "canary"})).resume()).http == 401
    assert "canary" not in written(rig)


@pytest.mark.parametrize("hidden", [{"drop": [*PEOPLE, "path"]}, {"hashed": PEOPLE}])
def test_private_lines_fit_the_schema_too(rig, hidden):
    hiding(rig, **hidden)
    rig.check(token=canary_token(rig))
    rig.check()
    lines = rig.sink.files[0]
    assert len(lines) >= 2, "two decisions, and an entry where one is needed"
    for line in lines:
        SCHEMA.validate(json.loads(line))


class TestNoSalt:
    def test_a_check_without_a_salt_is_denied_and_nobody_is_named(self, rig):
        salts, token = hiding(rig, hashed=["subject"]), canary_token(rig)
        salts.failing = True
        for _ in range(2):
            answer = rig.check(token=token)
            assert (answer.http, answer.reason, answer.allowed) == (503, "audit_unavailable", False)
            assert rig.record["detail"] == "the disk is full"
            assert (rig.record["subject"], rig.record["identity"]) == ("", "")
        assert "canary" not in written(rig)
        assert rig.sink.entries == []
        salts.failing = False
        assert rig.check(token=token).allowed

    def test_it_waits_once(self, rig):
        salts = hiding(rig, hashed=["subject"])
        salts.failing = True
        parked = rig.ask(token=canary_token(rig))
        parked.begin(lambda: None)
        assert read(parked.resume()).http == 503

    def test_with_allow_the_check_goes_on_and_the_fields_are_left_out(self, rig):
        salts, token = hiding(rig, hashed=["subject", "source"], required=False), canary_token(rig)
        salts.failing = True
        for _ in range(3):
            answer = rig.check(token=token)
            assert answer.allowed
            assert answer.metadata["subject"] == ""
            assert not {"subject", "source", "identity"} & set(rig.record)
            assert rig.record["client"] == "canary-client"
            assert rebuild(rig.record, {}) is Gap.DROPPED
        assert rig.sink.entries == []
        salts.failing = False
        for _ in range(3):
            answer = rig.check(token=token)
            assert answer.metadata["subject"] == rig.record["subject"]
            assert rig.record["subject"].startswith("sha256:")
        assert types(rig.sink.files[0]) == ["decision"] * 3 + ["identity"] + ["decision"] * 3
        assert consistent(rig.sink.files)


class TestErased:
    def test_what_was_prepared_with_a_salt_that_has_gone_is_not_used_again(self, rig):
        salts = hiding(rig, hashed=["subject"])
        tokens = {name: rig.token(sub=name) for name in ("alice", "bob")}
        told = {name: [] for name in tokens}
        for _ in range(3):
            for name, token in tokens.items():
                for _ in range(3):
                    answer = rig.check(token=token)
                    assert answer.metadata["subject"] == rig.record["subject"]
                    told[name].append((rig.record["subject"], rig.record["identity"]))
            salts.erase("alice")
        assert len(set(told["alice"])) == 3
        assert len(set(told["bob"])) == 1
        assert consistent(rig.sink.files)

    def test_in_a_new_file_too(self, rig):
        salts, token = hiding(rig, hashed=["subject"]), rig.token()
        for change in (lambda: rig.sink.offers.append([]), lambda: salts.erase("alice")) * 3:
            for _ in range(2):
                rig.check(token=token)
            change()
        rig.check(token=token)
        assert consistent(rig.sink.files)
        assert len(rig.sink.files) == 4

    def test_an_erased_salt_stays_in_no_table(self, rig):
        salts = hiding(rig, hashed=["subject", "source"])
        for name in ("alice", "bob"):
            for _ in range(3):
                rig.check(token=rig.token(sub=name))
        old = salts.of(ISS, "alice")
        recorder, privacy = rig.service._recorder, rig.service._privacy
        tables = (recorder._known, privacy._redactors, privacy._sources)
        assert all(old in str(table.keys()) for table in tables)
        salts.erase("alice")
        rig.check(token=rig.token(sub="bob"))
        assert not any(old in str(table.keys()) for table in tables)

    def test_those_without_a_subject_get_the_new_common_salt(self, rig):
        salts = hiding(rig, hashed=["source"])
        for salt in ("c0", "c1"):
            salts.common = salt
            rig.check()
            assert rig.record["source"] == hashed_with(salt, "source", ADDRESS)
            salts.erased += 1


def test_what_is_kept_of_salts_and_sources_is_bounded(rig, monkeypatch):
    monkeypatch.setattr(privacy_module, "_MOST_KEPT", 2)
    salts = hiding(rig, hashed=["subject", "source"])
    for name in ("a", "b", "c", "d", "a"):
        rig.check(token=rig.token(sub=name))
        assert rig.record["source"] == hashed_with(salts.of(ISS, name), "source", ADDRESS)
        assert max(len(rig.service._privacy._redactors), len(rig.service._privacy._sources)) <= 2


class TestWaits:
    def test_for_the_key_then_for_the_salt_then_for_the_revocation(self, rig):
        salts = hiding(rig, hashed=PEOPLE)
        token = canary_token(rig)
        rig.keys = {"corp": state_of(OTHER)}
        parked = rig.ask(*LOGOUT, token=token, **SIGNOUT)
        assert parked.counted, "for the key"
        rig.keys = {"corp": state_of(OTHER, make_key("ES256", kid="k1"))}
        parked = parked.resume()
        assert not parked.counted
        assert not parked.begin(lambda: None)
        assert salts.asked == [(ISS, "canary-subject")]
        parked = parked.resume()
        parked.begin(lambda: None)
        assert read(parked.resume()).http == 302
        assert len(rig.authenticator.revoked) == 1
        assert "canary" not in written(rig)

    @pytest.mark.parametrize("willing", [True, False])
    @pytest.mark.parametrize("back", ["elsewhere", "here", "never"])
    def test_a_sign_out_whose_salt_goes_meanwhile_is_recorded_with_the_next_one(self, rig, willing, back):
        salts = hiding(rig, hashed=["subject"])
        token, other = canary_token(rig), rig.token(sub="bob")
        for each in (token, other):
            assert rig.check(token=each).allowed
        revoker = rig.service._revoker = Revoker(willing=willing)
        parked = rig.ask(*LOGOUT, token=token, **SIGNOUT)
        assert not parked.begin(lambda: None) or willing
        [(attempt, _done)] = revoker.asked
        attempt.made = willing
        old = salts.of(ISS, "canary-subject")
        salts.erase("canary-subject")
        assert rig.check(token=other).allowed
        if back == "elsewhere":
            assert salts.make(ISS, "canary-subject", None) is False
        salts.failing = back == "never"
        answer = parked.resume()
        if back != "elsewhere":
            assert not answer.counted
            assert not answer.begin(lambda: None)
            answer = answer.resume()
        answer = read(answer)
        if back == "never":
            assert (answer.http, answer.reason) == (503, "audit_unavailable")
            assert not {"subject", "identity"} & set(rig.record)
        else:
            reason = "signed_out" if willing else "revocation_unavailable"
            assert (answer.reason, rig.record["reason"]) == (reason, reason)
            assert rig.record["subject"] == hashed_with(salts.of(ISS, "canary-subject"), "subject", "canary-subject")
        assert hashed_with(old, "subject", "canary-subject") not in written(rig).splitlines()[-1]
        assert len(revoker.asked) == 1
        salts.failing = False
        rig.check(token=token)
        assert consistent(rig.sink.files)

    def test_a_sign_out_that_waited_for_a_salt_already_goes_on_without_it(self, rig):
        salts = hiding(rig, hashed=["subject"], required=False)
        parked = rig.ask(*LOGOUT, token=canary_token(rig), **SIGNOUT)
        parked.begin(lambda: None)
        parked = parked.resume()
        salts.erase("canary-subject")
        salts.failing = True
        parked.begin(lambda: None)
        assert read(parked.resume()).reason == "signed_out"
        assert not {"subject", "identity"} & set(rig.record)
        assert consistent(rig.sink.files)

    def test_a_proof_is_used_up_once(self, runs):
        salts, key = hiding(runs, hashed=["subject", "client"]), task_key("account")
        token = runs.token(client_id="sales-etl", aud="airflow-egress", cnf={"jkt": thumbprint(key)})
        parked = runs.calls(token, key, airflow=CLAIM)
        assert isinstance(parked, Parked)
        assert runs.settle(parked).allowed
        assert salts.asked == [(ISS, "alice")]
        assert runs.record["client"].startswith("sha256:")
        assert consistent(runs.sink.files)

    def test_a_run_with_a_token_of_the_gate_waits_for_none(self, runs):
        salts = hiding(runs, hashed=["subject"])
        assert runs.call(runs.token_of(runs.airflow.add())).allowed
        assert runs.record["subject"].startswith("sha256:")
        assert salts.asked == []


def test_a_private_log_can_be_evaluated_again_if_no_role_asks_for_what_is_hidden(rig):
    hiding(rig, hashed=["subject", "user", "source"])
    rig.check(token=canary_token(rig))
    case = rebuild(rig.record, {entry["id"]: entry for entry in rig.sink.entries})
    assert decide_again(case, rig.policy).rule == rig.record["rule"] == "readers"
    by_name = load(POLICY.replace("{groups: [data-readers]}", "{subjects: [canary-subject]}"))
    assert decide_again(case, by_name) is Gap.HASHED
