"""Requests about grants over real sockets: who may do what, and what everyone else gets and costs."""

import errno
import json

import pytest

from authz.core.revocation import Kind, Revocation
from authz.ops.admin import MOST_BODY
from authz.sessions import token_limits
from authz.sessions.grants_file import GrantsFile
from authz.sessions.grants_port import EVENTS, RESULTS, not_enabled
from authz.system import shared_file
from tests.support.factories.tokens import ISS, NOW, make_key
from tests.support.rigs.grants import ASK, TEXT, Rig
from tests.support.rigs.service import KEY, load, state_of

THIEF = make_key("ES256", kid="k1 of a thief")
NEXT = make_key("ES256", kid="k2")
HOUR = 3600


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "grants.jsonl")
    made.server.start()
    yield made
    made.server.stop()


def fresh(path):
    file = GrantsFile(path)
    file.refresh()
    return file


def recorded(rig):
    return [json.loads(line) for line in rig.path.read_bytes().splitlines()]


class TestTheWay:
    def test_a_person_asks_another_approves_and_one_of_them_ends_it(self, rig):
        name = rig.ask()
        assert rig.held() == []
        rig.clock.advance(60)
        status, members = rig.approve(name)
        assert (status, members["state"], rig.held()) == (200, "active", ["oncall"])
        assert members["approved_by"]["subject"] == "bo"
        assert members["until"].startswith("20")
        status, members = rig.end(name)
        assert (status, members["state"], rig.held()) == (200, "ended", [])
        events = recorded(rig)
        assert [event["event"] for event in events] == ["request", "approve", "end"]
        assert events[1]["at"] == NOW + 60
        assert rig.counted == [("request", "done"), ("approve", "done"), ("end", "done")]

    def test_the_duration_counts_from_the_approval(self, rig):
        name = rig.ask()
        rig.clock.set_wall(NOW + 1000)
        assert rig.post(f"/grants/{name}/approve", token=rig.token("bo", "leads", exp=NOW + 1060))[0] == 200
        rig.clock.set_wall(NOW + 1000 + HOUR - 1)
        assert rig.held() == ["oncall"]
        rig.clock.set_wall(NOW + 1000 + HOUR)
        assert rig.held() == []

    def test_an_entry_that_needs_no_approval_is_in_force_at_once(self, rig):
        rig.ask("anyone", "no-group", entry="night")
        assert rig.held("anyone") == ["night"]

    def test_again_is_no_mistake(self, rig):
        name = rig.ask()
        assert rig.post("/grants", ASK, token=rig.token("ana", "data-readers"))[1]["id"] == name
        for _ in range(2):
            assert rig.approve(name)[0] == 200
        for _ in range(2):
            assert rig.end(name)[0] == 200
        assert len(recorded(rig)) == 3
        assert [result for _event, result in rig.counted] == ["done", "repeated"] * 3

    def test_a_request_that_is_not_approved_is_over_after_seven_days(self, rig):
        name = rig.ask()
        rig.clock.set_wall(NOW + 7 * 86_400)
        token = rig.token("bo", "leads", iat=NOW + 7 * 86_400, exp=NOW + 7 * 86_400 + 60)
        status, members = rig.post(f"/grants/{name}/approve", token=token)
        assert (status, members["error"]) == (409, "ended")

    def test_each_sees_what_concerns_it(self, rig):
        mine, theirs = rig.ask(), rig.ask("eve")
        found = rig.list("ana", "data-readers")
        assert [(one["id"], one["own"]) for one in found["grants"]] == [(mine, True)]
        assert [entry["entry"] for entry in found["entries"]] == ["oncall", "night"]
        found = rig.list("bo", "leads")
        assert sorted((one["id"], one["own"]) for one in found["grants"]) == sorted([(mine, False), (theirs, False)])
        assert [entry["entry"] for entry in found["entries"]] == ["night"]
        assert rig.list("cy")["grants"] == []


class TestEveryProcess:
    """What is answered 200 is so for whatever process reads the file."""

    def others(self, rig):
        return [(grant.id, grant.state.value) for grant in fresh(rig.path).ledger]

    @pytest.mark.parametrize("subject", ["bo\u202e", "bo\u200b"])
    def test_an_approver_whose_name_fits_into_no_line_changes_nothing(self, rig, subject):
        name = rig.ask()
        status, members = rig.approve(name, subject)
        assert (status, members["error"], rig.held()) == (422, "invalid", [])
        assert rig.approve(name)[0] == 200
        assert rig.end(name, subject, "leads")[0] == 422
        assert self.others(rig) == [(name, "active")]
        assert rig.held() == ["oncall"]

    def test_the_longest_name_that_a_token_may_have_approves_and_ends_for_all(self, rig):
        name, longest = rig.ask(), "b" * 1022  # with its quotes 1,024 bytes
        assert (rig.approve(name, longest)[0], rig.held(), self.others(rig)) == (200, ["oncall"], [(name, "active")])
        assert (rig.end(name, longest, "leads")[0], self.others(rig)) == (200, [(name, "ended")])

    @pytest.mark.parametrize("shown", ["{" * 20, "[" * 200, 'a"b\\c', "ana\u202e", "\u009b31m"])
    def test_a_name_is_read_back_whatever_is_in_it(self, rig, shown):
        name = rig.ask()
        token = rig.token("bo", "leads", preferred_username=shown)
        assert rig.post(f"/grants/{name}/approve", token=token)[0] == 200
        assert self.others(rig) == [(name, "active")]
        assert rig.post(f"/grants/{name}/end", token=token)[0] == 200
        assert self.others(rig) == [(name, "ended")]


class TestRefusals:
    def test_roles_are_those_of_this_moment(self, rig):
        assert rig.post("/grants", ASK, token=rig.token("ana"))[0] == 403
        name = rig.ask()
        rig.policy = load(TEXT.replace("lead: {groups: [leads]}", "lead: {groups: [others]}"))
        assert rig.approve(name)[0] == 404
        assert rig.approve(name, "bo", "others")[0] == 200

    def test_not_ones_own(self, rig):
        name = rig.ask("ana", "data-readers", "leads")
        status, members = rig.approve(name, "ana", "leads")
        assert (status, members["error"]) == (403, "own_request")
        assert rig.held() == []

    def test_an_agent_approves_nothing_whatever_its_roles_and_whose_name_it_has(self, rig):
        rig.policy = load(TEXT.replace("editor: {}", "editor: {}\n  bot: {groups: [bots], agent: true}"))
        name = rig.ask()
        status, members = rig.approve(name, "bo", "leads", "bots")
        assert (status, members["error"], members["message"]) == (403, "agent", "an agent may not approve")
        assert (rig.held(), len(recorded(rig))) == ([], 1)
        assert rig.end(name, "bo", "leads", "bots")[0] == 200, "less access needs no person"

    def test_the_same_subject_of_another_issuer_is_another_identity(self, rig):
        other = TEXT.replace("roles:\n", f"{SECOND}roles:\n", 1)
        rig.policy = load(other)
        rig.keys["second"] = rig.keys["corp"].__class__(
            issuer="https://second.test",
            keyset=rig.keys["corp"].keyset,
            fetched_at=0.0,
            stale_at=1e12,
            last_error="",
        )
        name = rig.ask()
        theirs = rig.token("ana", "data-readers", iss="https://second.test")
        assert rig.post(f"/grants/{name}/end", token=theirs)[0] == 404
        assert rig.send("GET", "/grants", token=theirs)[1]["grants"] == []
        assert rig.approve(name)[0] == 200
        assert rig.granted.held("https://second.test", "ana", rig.clock.wall()) == ()

    @pytest.mark.parametrize("name", ["0" * 20, "f" * 20, "a" * 42])
    def test_a_guessed_id_is_unknown_as_is_one_that_is_not_for_the_caller(self, rig, name):
        real = rig.ask()
        guessed = rig.post(f"/grants/{name}/approve", token=rig.token("eve", "leads"))
        foreign = rig.post(f"/grants/{real}/approve", token=rig.token("eve"))
        assert guessed == foreign
        assert guessed[0] == 404

    def test_what_a_grant_gives_does_not_count_for_approving(self, rig):
        rig.policy = load(TEXT.replace("longest: 1h, roles: [editor]", "longest: 1h, roles: [lead]"))
        name = rig.ask()
        rig.ask("eve", "x", entry="night")
        assert rig.held("eve") == ["night"]
        assert rig.approve(name, "eve", "x")[0] == 404

    @pytest.mark.parametrize(
        ("change", "status", "error"),
        [
            ({"duration": "4d"}, 422, "too_long"),
            ({"duration": "0s"}, 422, "too_long"),
            ({"duration": "500ms"}, 422, "too_long"),
            ({"duration": "3600"}, 422, "invalid"),
            ({"duration": 3600}, 422, "invalid"),
            ({"duration": "9" * 400 + "d"}, 422, "invalid"),
            ({"reason": ""}, 422, "invalid"),
            ({"reason": "a\nb"}, 422, "invalid"),
            ({"reason": "x" * 501}, 422, "invalid"),
            ({"reason": None}, 422, "invalid"),
            ({"reason": "\ud800"}, 400, "malformed"),
            ({"more": 1}, 422, "invalid"),
            ({"subject": "eve"}, 422, "invalid"),
            ({"entry": "gone"}, 403, "not_a_requester"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_what_is_wrong_is_said_with_what_to_do(self, rig, change, status, error):
        found, members = rig.post("/grants", ASK | change, token=rig.token("ana", "data-readers"))
        assert (found, members["error"]) == (status, error)
        assert members["message"]
        assert members["hint"]
        assert recorded(rig) == []

    def test_a_narrowed_entry(self, rig):
        name = rig.ask()
        rig.policy = load(TEXT.replace("longest: 3d", "longest: 30m"))
        assert rig.approve(name)[1]["error"] == "narrowed"

    def test_too_many(self, rig):
        for number in range(10):
            rig.ask(duration=f"{number + 1}m")
        status, members = rig.post("/grants", ASK, token=rig.token("ana", "data-readers"))
        assert (status, members["error"]) == (429, "too_many")
        rig.ask("eve")


class TestTokens:
    def refused(self, rig, **parts):
        found = [rig.send("POST", "/grants", ASK, **parts), rig.send("GET", "/grants", **parts)]
        assert recorded(rig) == []
        [status] = {status for status, _members, _headers in found}
        if status == 401:
            assert found[0][2]["WWW-Authenticate"] == "Bearer"
        return status

    @pytest.mark.parametrize(
        "change",
        [
            {"key": THIEF},
            {"key": THIEF, "headers": {"kid": "k1"}},
            {"iss": "https://other.test"},
            {"aud": "other"},
            {"aud": "airflow-egress"},
            {"exp": NOW - 60, "iat": NOW - 600},
            {"iat": NOW + 600, "nbf": NOW + 600, "exp": NOW + 900},
            {"cnf": {"jkt": "x" * 43}},
            {"headers": {"typ": "authz-run+jwt"}},
        ],
        ids=lambda change: str(change)[:30],
    )
    def test_only_verified_bearer_tokens_for_the_inbound_audience_count(self, rig, change):
        assert self.refused(rig, token=rig.token("ana", "data-readers", **change)) == 401

    def test_a_break_glass_token_gives_no_one_access_that_outlives_it(self, rig):
        marked = "    jwks_file: keys.json\n    break_glass: true\n    username: preferred_username\n"
        rig.policy = load(
            TEXT.replace("    username: preferred_username\n", marked)
            .replace(", egress: [airflow-egress]", "")
            .replace("  - {id: orders, plane: egress", "  - {id: orders, identity: asserted, dags: [x], plane: egress")
        )
        token = rig.token("ana", "data-readers", "leads", reason="provider down")
        assert self.refused(rig, token=token) == 401

    def test_no_token(self, rig):
        assert self.refused(rig) == 401
        assert self.refused(rig, authorization=["Basic YTpi"]) == 400
        assert self.refused(rig, authorization=["Bearer "]) in {400, 401}
        assert self.refused(rig, authorization=["Bearer a.b.c"]) == 401
        good = rig.token("ana", "data-readers")
        assert self.refused(rig, token=good, authorization=[f"Bearer {good}"]) == 400

    def test_a_revoked_token(self, rig):
        rig.revoked.add([Revocation(issuer=ISS, kind=Kind.SUBJECT, value="ana", until=NOW + 99, before=NOW + 9)])
        assert self.refused(rig, token=rig.token("ana", "data-readers")) == 401

    def test_an_answer_repeats_nothing_of_a_token(self, rig):
        token = rig.token("canary-subject", iss="https://canary.test")
        _status, members, headers = rig.send("POST", "/grants", ASK, token=token)
        shown = json.dumps(members) + str(headers)
        assert "canary" not in shown
        assert token not in shown

    def test_a_new_key_is_fetched(self, rig):
        rig.arriving = {"corp": state_of(KEY, NEXT)}
        assert rig.post("/grants", ASK, token=rig.token("ana", "data-readers", key=NEXT))[0] == 201
        assert rig.wanted == [("corp", "k2")]

    def test_a_key_that_no_fetch_brings(self, rig):
        assert self.refused(rig, token=rig.token("ana", key=NEXT)) == 401

    def test_keys_that_are_too_old(self, rig):
        token = rig.token("ana", "data-readers")
        assert rig.post("/grants", ASK, token=token)[0] == 201
        rig.keys = {"corp": state_of(KEY, stale_at=0.0)}
        assert rig.send("GET", "/grants", token=token)[0] == 503

    def test_without_a_policy(self, rig):
        rig.policy = None
        assert rig.send("GET", "/grants", token=rig.token("ana"))[0] == 503

    def test_wrong_tokens_of_a_sender_are_limited_and_others_are_served(self, rig):
        wrong = rig.token("ana", key=THIEF, headers={"kid": "k1"})
        found = [rig.send("GET", "/grants", token=wrong)[0] for _ in range(30)]
        assert set(found) == {401, 429}
        status, members, headers = rig.send("GET", "/grants", token=rig.token("ana"))
        assert (status, members["error"], headers["Retry-After"]) == (429, "busy", "1")
        assert rig.counted[-1] == ("list", "busy")
        assert rig.send("GET", "/grants", token=rig.token("ana"), sender="127.0.0.2")[0] == 200
        rig.clock.advance(1)
        assert rig.send("GET", "/grants", token=rig.token("ana"))[0] == 200

    def test_waiting_for_keys_is_limited(self, rig, monkeypatch):
        monkeypatch.setattr(token_limits, "_MOST_WAITING", 0)
        assert rig.send("GET", "/grants", token=rig.token("ana", key=NEXT))[0] == 429
        assert rig.wanted == []


class TestForm:
    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp", ""],
    )
    def test_what_a_page_in_a_browser_can_send_unasked_is_refused(self, rig, content_type):
        token = rig.token("ana", "data-readers")
        status, members, headers = rig.send(
            "POST", "/grants", ASK, token=token, headers={"Content-Type": content_type}.items()
        )
        assert (status, members["error"], recorded(rig)) == (415, "malformed", [])
        assert not [name for name in headers if name.lower().startswith("access-control")]

    def test_a_cookie_is_no_token(self, rig):
        cookie = {"Cookie": f"IdToken={rig.token('ana', 'data-readers')}"}
        assert rig.send("POST", "/grants", ASK, headers=cookie.items())[0] == 401
        assert rig.send("OPTIONS", "/grants", headers={"Origin": "https://evil.test"}.items())[0] == 405

    @pytest.mark.parametrize(
        "body",
        [
            b"nonsense",
            b"[]",
            b'"text"',
            b'{"entry":"oncall","entry":"night","duration":"1h","reason":"x"}',
            b'{"entry":"oncall","duration":"1h","reason":"x"',
            b"[" * 1000,
            b'{"entry":"\xff"}',
            b"{" + b" " * MOST_BODY + b"}",
        ],
        ids=lambda body: str(body)[:30],
    )
    def test_a_body_is_one_strict_object_of_bounded_size(self, rig, body):
        status, members, _headers = rig.send("POST", "/grants", body, token=rig.token("ana", "data-readers"))
        assert (status, members["error"], recorded(rig)) == (400, "malformed", [])

    def test_a_huge_length_is_not_read(self, rig):
        token = rig.token("ana", "data-readers")
        assert rig.send("POST", "/grants", b"{}", token=token, headers={"Content-Length": str(10**9)}.items())[0] == 400

    def test_unicode_names_are_kept_and_shown_safely(self, rig):
        name = "Ana \u202e\n名前"
        token = rig.token("ана", "data-readers", preferred_username=name)
        status, members = rig.post("/grants", ASK, token=token)
        assert (status, members["requester"]["name"]) == (201, name)
        assert recorded(rig)[0]["subject"] == "ана"
        assert rig.path.read_bytes().count(b"\n") == 1

    @pytest.mark.parametrize(
        "path", ["/grants/", "/grants/x", "/grants/../x", "/grants/0000000000/delete", "/grants/a/b/c"]
    )
    def test_other_pages_are_not_there(self, rig, path):
        assert rig.post(path, token=rig.token("ana"))[0] == 404

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    def test_other_methods(self, rig, method):
        status, _members, headers = rig.send(method, "/grants", token=rig.token("ana"))
        assert (status, headers["Allow"]) == (405, "GET, POST")
        assert rig.send("GET", "/grants/0000000000/end", token=rig.token("ana"))[0] == 405

    def test_approvals_and_ends_take_no_members(self, rig):
        name = rig.ask()
        status, members = rig.post(f"/grants/{name}/approve", {"for": "9d"}, token=rig.token("bo", "leads"))
        assert (status, members["error"]) == (422, "invalid")

    def test_the_lookup_of_large_grants_of_dags_stays(self, rig):
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", rig.server.port)
        connection.request("GET", "/grants/" + "a" * 43)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"no such grant\n")


class TestFailures:
    def test_a_full_disk_is_503_and_nothing_is_in_force(self, rig, monkeypatch):
        name = rig.ask()

        def full(*_arguments):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as disk:
            disk.setattr(shared_file.os, "write", full)
            assert rig.approve(name)[0] == 503
            assert rig.post("/grants", ASK | {"entry": "night"}, token=rig.token("eve"))[0] == 503
        assert (rig.held(), rig.held("eve"), len(recorded(rig))) == ([], [], 1)
        assert rig.approve(name)[0] == 200

    def test_a_list_of_a_file_that_cannot_be_read_says_so(self, rig):
        rig.path.unlink()
        status, members, _headers = rig.send("GET", "/grants", token=rig.token("ana"))
        assert (status, members["message"]) == (503, "the grants cannot be read")

    def test_a_bug_is_503_and_says_nothing(self, rig, monkeypatch, caplog):
        def broken(_decide):
            raise RuntimeError("canary")

        monkeypatch.setattr(rig.granter, "record", broken)
        status, members = rig.post("/grants", ASK, token=rig.token("ana", "data-readers"))
        assert (status, members["error"]) == (503, "error")
        assert "canary" not in json.dumps(members)

    def test_a_file_that_cannot_be_read_is_not_listed(self, rig):
        rig.path.unlink()
        assert rig.send("GET", "/grants", token=rig.token("ana"))[0] == 503

    def test_everything_is_counted_under_a_closed_list_of_words(self, rig):
        name = rig.ask()
        rig.approve(name, "ana", "leads")
        rig.post("/grants", b"x", token=rig.token("ana"))
        rig.send("GET", "/grants")
        assert {event for event, _result in rig.counted} <= set(EVENTS)
        assert {str(result) for _event, result in rig.counted} <= {str(result) for result in RESULTS}


def test_a_gate_without_a_file_says_what_to_set():
    from authz.ops.http_server import Asked

    def asked(method, target):
        return not_enabled(Asked(method=method, target=target, accept="", content_type="", body=None))

    assert asked("POST", "/grants").status == 404
    assert b"grants.file" in asked("POST", "/grants").body
    assert asked("PUT", "/grants").status == 405


SECOND = """  - name: second
    issuer: https://second.test
    audiences: {inbound: [airflow]}
    algorithms: [ES256]
    groups: [groups]
"""
