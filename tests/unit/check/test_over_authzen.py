"""AuthZEN's codec on a real service: the same decisions as checks have, and nothing stated is believed.

The shapes of requests and answers are those of OpenID Authorization API 1.0 and of its certification scenario.
"""

import json
import logging
from functools import cache
from itertools import product

import pytest

from authz.authn.asked import AskingAuthenticator
from authz.check import wire
from authz.check.wire.over_authzen import EVALUATION, EVALUATIONS, METADATA, MOST_EVALUATIONS, AuthZen, parse_with
from authz.check.wire.over_http import Route
from authz.core import edge, replay
from authz.core.grants import Granted, Ledger
from authz.core.http_answer import HttpAnswer
from authz.core.parked import Parked
from authz.core.revocation import Kind, Revocation, Revoked
from tests.attacks import corpus
from tests.support.factories.grants import approved, requested
from tests.support.factories.tokens import ISS, NOW
from tests.support.rigs.service import POLICY, Rig, load
from tests.unit.check.test_temporary import TEXT as WITH_GRANTS

HOST = "airflow.example.com"
JSON = (b"content-type", b"application/json")
PORTAL = {"sub": "service-account-portal", "groups": [], "client_id": "portal"}
INBOUND = {edge.EXT_PLANE: "inbound", edge.EXT_AUDIENCE: "airflow", edge.EXT_BASE: "", edge.EXT_DAGS: ""}
EGRESS = {edge.EXT_PLANE: "egress", edge.EXT_DESTINATION: "orders"}
CAROL = {"type": "user", "id": "carol", "properties": {"groups": ["data-readers"], "username": "carol@example.com"}}
URL = "https://authz.example.com"


class Asked:
    """A service that is asked over AuthZEN."""

    def __init__(self, text=POLICY, *, routes=None, **parts):
        self.revoked, self.granted = Revoked(b"k"), Granted()
        authenticator = AskingAuthenticator(
            {(ISS, PORTAL["sub"]): "portal"},
            capacity=100,
            max_token_bytes=9999,
            count=lambda _: None,
            revoked=self.revoked,
            granted=self.granted,
        )
        self.rig = Rig(text, **{"authenticator": authenticator, "parse": parse_with(wire.parse), **parts})
        self.route = Route(INBOUND)
        self.api = AuthZen({"airflow": self.route} if routes is None else routes, URL)

    def request(self, body, *headers, target=EVALUATION, method="POST"):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        steps = self.api.converse(method, target.encode(), [(b"host", b"authz.test"), *headers], content)
        answer = None
        while True:
            try:
                message = next(steps) if answer is None else steps.send(answer)
            except StopIteration as end:
                return end.value
            answer = self.settled(message)

    def ask(self, body, *headers, target=EVALUATION):
        said = self.request(body, JSON, *headers, target=target)
        assert (said.status, said.headers["content-type"]) == (200, "application/json")
        return json.loads(said.body)

    def bearer(self, **claims):
        return b"authorization", b"Bearer " + self.rig.token(**claims).encode()

    def checked(self, method, target, host, *headers):
        """Whether the same request is allowed over HTTP."""
        lines = [(b"host", host.encode("latin-1", "replace")), *headers]
        message = self.route.message(method, target.encode("latin-1", "replace"), lines)
        return self.route.answer(self.settled(message)).status == 200

    def settled(self, message):
        answer = self.rig.service.check(message)
        while isinstance(answer, Parked):
            answer.begin(lambda: None)
            answer = answer.resume()
        return answer


def question(target="/api/v2/dags", method="GET", subject="alice", host=HOST, **members):
    return {
        "subject": {"type": "user", "id": subject},
        "action": {"name": method},
        "resource": {"type": "route", "id": target, "properties": {"hostname": host}},
        **members,
    }


def without(where, name):
    made = question()
    del (made[where] if where else made)[name]
    return made


@pytest.fixture
def asked():
    return Asked()


def test_a_question_with_the_subjects_token_is_answered_and_recorded_as_a_check(asked):
    said = asked.ask(question(context={"token": asked.rig.token()}))
    record = asked.rig.record
    assert said == {"decision": True, "context": {"decision_id": record["id"]}}
    assert (record["subject"], record["path"], record["host"], record["rule"]) == (
        "alice",
        "/api/v2/dags",
        HOST,
        "readers",
    )
    assert "stated_by" not in record


def test_a_denial_says_what_is_missing_and_is_no_error(asked):
    said = asked.ask(question("/api/v2/pools", context={"token": asked.rig.token()}))
    assert said["decision"] is False
    assert said["context"] == {
        "decision_id": asked.rig.record["id"],
        "reason": "no_rule",
        "message": "This needs the permission pools:read. Your roles here: viewer.",
        "status": 403,
    }


def test_a_caller_asks_about_itself_with_its_own_token(asked):
    assert asked.ask(question(), asked.bearer())["decision"] is True


@pytest.mark.parametrize("target", ["/api/v2/dags", "/api/v2/monitor/health"])
@pytest.mark.parametrize("named", [True, False])
def test_a_token_of_another_than_the_subject_is_no_token_of_it(asked, target, named):
    """Not where everyone may, either: then the question has no subject."""
    token = asked.rig.token()
    asking, lines = ({"token": token}, []) if named else ({}, [(b"authorization", f"Bearer {token}".encode())])
    said = asked.ask(question(target, subject="bob", context=asking), *lines)
    assert (said["decision"], said["context"]["reason"]) == (False, "subject_unproven")
    assert asked.rig.record["reason"] == "subject_unproven"


def test_a_stated_subject_alone_is_not_believed(asked):
    said = asked.request(question(), JSON)
    assert (said.status, said.headers["www-authenticate"]) == (401, 'Bearer realm="airflow"')
    assert b"decision" in said.body
    assert asked.rig.record["reason"] == "no_token"


@pytest.mark.parametrize("end", [", Bearer x", " x", "\r\nX: y", "\u00e4", "\0"])
def test_what_is_more_than_a_token_is_none(asked, end):
    said = asked.ask(question(context={"token": asked.rig.token() + end}))
    assert (said["decision"], said["context"]["reason"]) == (False, "bad_authorization")


@pytest.mark.parametrize("change", [{"exp": NOW - 100}, {"aud": "other"}, {"iss": "https://other.test"}])
def test_a_bad_token_of_the_subject_is_a_denial_and_one_of_the_client_an_error(asked, change):
    token = asked.rig.token(**change)
    said = asked.ask(question(context={"token": token}))
    assert (said["decision"], said["context"]["reason"], said["context"]["status"]) == (False, "invalid_token", 401)
    refused = asked.request(question(), JSON, (b"authorization", f"Bearer {token}".encode()))
    assert (refused.status, refused.headers["www-authenticate"].partition(",")[2]) == (401, ' error="invalid_token"')
    assert token.encode() not in refused.body


def test_the_token_in_the_context_is_asked_for_whatever_the_client_is(asked):
    """A decision client's own token proves no other subject where a token of the subject is given."""
    said = asked.ask(question(subject="bob", context={"token": asked.rig.token(**PORTAL)}))
    assert said["context"]["reason"] == "subject_unproven"
    said = asked.ask(question(context={"token": asked.rig.token(exp=NOW - 100)}), asked.bearer(**PORTAL))
    assert said["context"]["reason"] == "invalid_token"


class TestDecisionClient:
    def test_it_states_the_subject(self, asked):
        said = asked.ask({**question(), "subject": CAROL}, asked.bearer(**PORTAL))
        assert said["decision"] is True
        record = asked.rig.record
        assert (record["subject"], record["roles"], record["stated_by"]) == ("carol", ["viewer"], "portal")
        (entry,) = asked.rig.sink.entries
        assert (entry["subject"], entry["groups"], entry["user"]) == ("carol", ["data-readers"], "carol@example.com")

    def test_what_was_decided_about_a_stated_subject_is_evaluated_again_from_the_log(self, asked):
        asked.ask({**question(), "subject": CAROL}, asked.bearer(**PORTAL))
        case = replay.rebuild(asked.rig.record, {one["id"]: one for one in asked.rig.sink.entries})
        assert replay.decide_again(case, asked.rig.policy).rule == "readers"

    def test_without_groups_there_are_no_roles(self, asked):
        said = asked.ask(question(subject="carol"), asked.bearer(**PORTAL))
        assert (said["decision"], said["context"]["reason"]) == (False, "no_role")
        assert asked.rig.record["stated_by"] == "portal"

    def test_roles_come_from_the_policy_alone(self, asked):
        subject = {"type": "user", "id": "carol", "properties": {"roles": ["viewer"]}}
        assert asked.ask({**question(), "subject": subject}, asked.bearer(**PORTAL))["decision"] is False

    def test_an_agent_is_denied_what_agents_are(self, asked):
        subject = {"type": "agent", "id": "copilot", "properties": {"client_id": "copilot"}}
        one = "/api/v2/dags/sales"
        assert asked.ask({**question(one), "subject": subject}, asked.bearer(**PORTAL))["decision"] is True
        said = asked.ask({**question(one, "DELETE"), "subject": subject}, asked.bearer(**PORTAL))
        assert (said["decision"], said["context"]["reason"]) == (False, "deny_rule")

    @pytest.mark.parametrize("change", [{"sub": "someone"}, {"sub": "service-account-portal "}])
    def test_another_token_through_the_same_client_is_none(self, asked, change):
        """A person who signed in through the portal has a token with its client id."""
        said = asked.ask({**question(), "subject": CAROL}, asked.bearer(**PORTAL | change))
        assert said["context"]["reason"] == "subject_unproven"

    def test_a_revoked_subject_stays_revoked(self, asked):
        until = int(NOW) + 9999
        revocation = Revocation(issuer=ISS, kind=Kind.SUBJECT, value="carol", until=until, before=int(NOW) - 1000)
        asked.revoked.add([revocation])
        said = asked.ask({**question(), "subject": CAROL}, asked.bearer(**PORTAL))
        assert said["context"]["reason"] == "subject_unproven"

    def test_the_answer_ends_with_the_clients_token(self, asked):
        bearer = asked.bearer(**PORTAL)
        assert asked.ask({**question(), "subject": CAROL}, bearer)["decision"] is True
        asked.rig.clock.advance(7200)
        assert asked.request({**question(), "subject": CAROL}, JSON, bearer).status == 401

    @pytest.mark.parametrize("properties", [{"groups": "data-readers"}, {"groups": [1]}, {"username": 1}, []])
    def test_what_cannot_be_claims_is_refused(self, asked, properties):
        subject = {"type": "user", "id": "carol", "properties": properties}
        assert asked.request({**question(), "subject": subject}, JSON, asked.bearer(**PORTAL)).status == 400

    @pytest.mark.parametrize(
        "change",
        [
            *[{"id": f"carol{char}"} for char in ("\n", "\0", "\x1b[2J", "\u2028")],
            {"id": "x" * 1023},
            {"properties": {"client_id": "x" * 1023}},
            {"properties": {"username": "x" * 1023}},
        ],
    )
    def test_it_states_no_name_that_no_token_could_have(self, asked, change):
        groups = {"groups": ["data-readers"]}
        subject = CAROL | change | {"properties": groups | change.get("properties", {})}
        assert asked.request({**question(), "subject": subject}, JSON, asked.bearer(**PORTAL)).status == 400
        (found,) = asked.ask({**question(), "evaluations": [{"subject": subject}]}, target=EVALUATIONS)["evaluations"]
        assert (found["decision"], found["context"]["error"]["status"]) == (False, 400)
        assert asked.rig.sink.records == []

    def test_a_subject_is_described_once_for_all_questions_about_it(self, asked):
        listed = [{"action": {"name": "GET"}}, {"action": {"name": "POST"}}]
        body = {**question(), "subject": CAROL, "evaluations": listed * 3}
        asked.ask(body, asked.bearer(**PORTAL), target=EVALUATIONS)
        assert len(asked.rig.sink.records) == 6
        assert len(asked.rig.sink.entries) == 1
        other = {**CAROL, "properties": {"groups": ["data-readers", "more"]}}
        asked.ask({**question(), "subject": other}, asked.bearer(**PORTAL))
        asked.ask({**question(), "subject": CAROL}, asked.bearer(**PORTAL))
        assert [one["groups"] for one in asked.rig.sink.entries] == [["data-readers"], ["data-readers", "more"]]

    def test_a_subject_of_before_has_what_the_policy_and_its_grants_say_now(self):
        asked, ledger = Asked(WITH_GRANTS), Ledger()

        def decides(subject):
            return asked.ask({**question(), "subject": subject}, asked.bearer(**PORTAL, exp=NOW + 3500))["decision"]

        dave = {"type": "user", "id": "dave"}
        assert (decides(CAROL), decides(dave)) == (True, False)
        for event in (requested(subject="dave", seconds=600), approved()):
            ledger.apply(event)
        asked.granted.put(ledger.active())
        asked.rig.clock.set_wall(NOW + 60)
        assert (decides(CAROL), decides(dave)) == (True, True)
        asked.rig.clock.set_wall(NOW + 660)
        assert (decides(CAROL), decides(dave)) == (True, False)
        asked.rig.policy = load(WITH_GRANTS.replace("groups: [data-readers]", "groups: [others]"))
        assert decides(CAROL) is False

    def test_what_two_clients_state_is_recorded_as_theirs(self):
        asked = Asked()
        asked.rig.service._authenticator._clients[ISS, "desk"] = "desk"
        for client in (PORTAL, PORTAL | {"sub": "desk"}, PORTAL):
            asked.ask({**question(), "subject": CAROL}, asked.bearer(**client))
        assert [one["stated_by"] for one in asked.rig.sink.records] == ["portal", "desk", "portal"]


def test_asking_about_a_sign_out_signs_no_one_out():
    asked = Asked(POLICY + "  - {id: out, public: true, plane: inbound, operations: ['session:logout']}\n")
    token, target = asked.rig.token(), "/api/v2/auth/logout"
    assert asked.ask(question(target, context={"token": token}))["decision"] is True
    assert asked.ask(question(target, subject="carol"), asked.bearer(**PORTAL))["decision"] is True
    assert len(asked.revoked) == 0
    assert asked.checked("GET", target, HOST, (b"authorization", f"Bearer {token}".encode()))
    assert len(asked.revoked) == 1
    assert asked.ask(question(context={"token": token}))["context"]["reason"] == "invalid_token"


@pytest.mark.parametrize("case", ["targets", "hosts", "methods"])
def test_over_the_corpus_a_decision_is_that_of_the_check_over_http(case):
    """Never more; and the same wherever a request can have such a method, target and host at all."""
    asked = Asked(POLICY + "  - {id: all, plane: inbound, roles: [viewer], methods: [GET], paths: ['/**']}\n")
    expired = asked.rig.token(exp=NOW - 100)
    token = cache(lambda sign_outs: asked.rig.token(jti=f"after {sign_outs}"))
    cases = {
        "targets": product(("GET",), corpus.targets(), (HOST,)),
        "hosts": product(("GET",), ("/api/v2/dags", "/api/v2/monitor/health"), corpus.hosts()),
        "methods": product(corpus.methods(), ("/api/v2/dags", "/api/v2/monitor/health"), (HOST,)),
    }
    allowed = tried = 0
    for method, target, host in cases[case]:
        for one in (token(len(asked.revoked)), expired):
            said = asked.request(question(target, method, host=host, context={"token": one}), JSON)
            is_allowed = asked.checked(method, target, host, (b"authorization", f"Bearer {one}".encode()))
            decision = said.status == 200 and json.loads(said.body)["decision"]
            if target.isascii() and target.isprintable() and " " not in target and target.startswith("/"):
                assert decision is is_allowed, (method, target, host)
            assert decision <= is_allowed, (method, target, host)
            allowed, tried = allowed + decision, tried + 1
    assert 0 < allowed < tried


class TestEvaluations:
    def ask(self, asked, *evaluations, **members):
        body = {**question(context={"token": asked.rig.token()}), "evaluations": list(evaluations), **members}
        return [one["decision"] for one in asked.ask(body, target=EVALUATIONS)["evaluations"]]

    @staticmethod
    def about(target):
        return {"resource": question(target)["resource"]}

    def test_all_are_answered_in_their_order(self, asked):
        assert self.ask(
            asked, {}, self.about("/api/v2/pools"), {"action": {"name": "HEAD"}}, {"action": {"name": "POST"}}
        ) == [
            True,
            False,
            True,
            False,
        ]

    @pytest.mark.parametrize(
        ("semantic", "expected"),
        [
            ("execute_all", [True, False, True]),
            ("deny_on_first_deny", [True, False]),
            ("permit_on_first_permit", [True]),
        ],
    )
    def test_the_semantic_says_when_to_stop(self, asked, semantic, expected):
        found = self.ask(asked, {}, self.about("/api/v2/pools"), {}, options={"evaluations_semantic": semantic, "x": 1})
        assert found == expected
        assert len(asked.rig.sink.records) == len(expected)

    def test_an_entity_replaces_the_default_whole(self, asked):
        """There is no merging below: the subject of the second has no groups."""
        body = {
            **question(),
            "subject": CAROL,
            "evaluations": [
                {},
                {"subject": {"type": "user", "id": "carol"}},
                {"context": {"token": asked.rig.token()}},
            ],
        }
        found = asked.ask(body, asked.bearer(**PORTAL), target=EVALUATIONS)["evaluations"]
        assert [one["decision"] for one in found] == [True, False, False]
        assert found[2]["context"]["reason"] == "subject_unproven"

    @pytest.mark.parametrize(
        "wrong", [{"resource": {"type": "route"}}, {"action": {}}, {"subject": "alice"}, 1, None, []]
    )
    def test_one_that_is_no_question_is_denied_and_the_others_are_answered(self, asked, wrong):
        body = {**question(context={"token": asked.rig.token()}), "evaluations": [{}, wrong, {}]}
        first, second, third = asked.ask(body, target=EVALUATIONS)["evaluations"]
        assert (first["decision"], second["decision"], third["decision"]) == (True, False, True)
        assert second["context"]["error"]["status"] == 400
        stopped = asked.ask({**body, "options": {"evaluations_semantic": "deny_on_first_deny"}}, target=EVALUATIONS)
        assert len(stopped["evaluations"]) == 2

    @pytest.mark.parametrize("evaluations", [{}, {"evaluations": []}])
    def test_without_evaluations_it_is_one(self, asked, evaluations):
        body = {**question(context={"token": asked.rig.token()}), **evaluations}
        assert asked.ask(body, target=EVALUATIONS)["decision"] is True

    @pytest.mark.parametrize(
        "members",
        [
            {"evaluations": {}},
            {"evaluations": None},
            {"evaluations": [{}] * (MOST_EVALUATIONS + 1)},
            {"evaluations": [{}], "options": []},
            {"evaluations": [{}], "options": {"evaluations_semantic": "all"}},
            {"evaluations": [{}], "options": {"evaluations_semantic": ["execute_all"]}},
        ],
    )
    def test_what_is_no_list_of_questions_is_refused(self, asked, members):
        said = asked.request({**question(context={"token": asked.rig.token()}), **members}, JSON, target=EVALUATIONS)
        assert said.status == 400
        assert asked.rig.sink.records == []

    @pytest.mark.parametrize("lines", [[b"Basic eDp5"], [b""], [b"Bearer a", b"Bearer b"]])
    def test_a_client_whose_authorization_is_no_token_gets_no_decision(self, asked, lines):
        headers = [(b"authorization", line) for line in lines]
        assert asked.request(question(), JSON, *headers).status == 400
        body = {**question(), "evaluations": [{}, {}]}
        said = asked.request(body, JSON, *headers, target=EVALUATIONS)
        assert (said.status, len(asked.rig.sink.records)) == (400, 2)
        assert asked.ask(question(context={"token": asked.rig.token()}), *headers)["decision"] is True

    def test_a_client_that_is_not_authenticated_gets_no_decision(self, asked):
        body = {**question(), "evaluations": [{"context": {"token": asked.rig.token()}}, {}]}
        assert asked.request(body, JSON, target=EVALUATIONS).status == 401


@pytest.mark.parametrize(
    "body",
    [
        *(without("", name) for name in ("subject", "action", "resource")),
        *(without("subject", name) for name in ("type", "id")),
        *(without("resource", name) for name in ("type", "id", "properties")),
        without("action", "name"),
        {**question(), "subject": "alice"},
        {**question(), "subject": None},
        {**question(), "action": {"name": 123}},
        {**question(), "context": []},
        {**question(), "context": {"token": 1}},
        {**question(), "context": {"token": None}},
        {**question(), "context": {"token": ""}},
        {**question(), "resource": {"type": "route", "id": "/", "properties": {"hostname": 1}}},
        [],
        "text",
        b"",
        b"{",
        b'{"subject": {"type": "user", "id": "alice", "id": "root"}}',
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}",
        b'{"a": [' + b"[]," * 9000 + b"[]]}",
    ],
)
@pytest.mark.parametrize("target", [EVALUATION, EVALUATIONS])
def test_what_is_no_question_is_a_bad_request_and_not_checked(asked, body, target):
    said = asked.request(body, JSON, asked.bearer(), target=target)
    assert (said.status, said.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert asked.rig.sink.records == []


@pytest.mark.parametrize("kind", [b"text/plain", b"application/jsonx", b"", b"application/xml; a=application/json"])
def test_another_content_type_is_a_bad_request(asked, kind):
    assert asked.request(question(), (b"content-type", kind), asked.bearer()).status == 400
    assert asked.request(question(), asked.bearer()).status == 400
    assert asked.request(question(), JSON, JSON, asked.bearer()).status == 400


def test_json_may_say_its_charset(asked):
    assert (
        asked.request(question(), (b"content-type", b"Application/JSON; charset=UTF-8"), asked.bearer()).status == 200
    )


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"type": "dag", "id": "sales"}, 404),
        ({"properties": {"hostname": HOST, "audience": "other"}}, 404),
        ({"id": "/a b"}, 400),
        ({"id": "/a\r\nHost: x"}, 400),
        ({"id": "api"}, 400),
        ({"id": "https://airflow.example.com/api/v2/dags"}, 400),
        ({"id": "/\u00e4"}, 400),
        ({"properties": {"hostname": "a b"}}, 400),
    ],
)
def test_what_the_gate_cannot_be_asked_is_denied_and_not_checked(asked, change, status):
    body = question(context={"token": asked.rig.token()})
    body["resource"] |= change
    said = asked.ask(body)
    assert (said["decision"], said["context"]["error"]["status"]) == (False, status)
    assert asked.rig.sink.records == []


def test_of_several_audiences_the_question_names_one():
    asked = Asked(routes={"airflow": Route(INBOUND), "orders": Route(EGRESS)})
    body = question("/v1/orders", subject="sales-etl", host="orders.internal")
    token = asked.rig.token(aud="airflow-egress", client_id="sales-etl", sub="sales-etl", groups=[])
    body["context"] = {"token": token}
    assert asked.request(body, JSON).status == 400
    body["resource"]["properties"]["audience"] = "orders"
    assert asked.ask(body)["decision"] is True
    assert asked.rig.record["destination"] == "orders"


def test_of_the_clients_headers_only_the_trace_goes_on(asked):
    lines = [
        (b"cookie", b"BearerToken=x"),
        (b"accept", b"text/html"),
        (b"host", b"other.test"),
        (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
    ]
    said = asked.ask(question("/api/v2/pools", context={"token": asked.rig.token()}), *lines)
    assert said["context"]["reason"] == "no_rule"
    assert (asked.rig.record["host"], asked.rig.record["trace"]) == (HOST, "a" * 32)


class TestRequestId:
    def test_it_comes_back_with_every_answer(self, asked):
        line = (b"x-request-id", b"bfe9eb29-ab87-4ca3-be83-a1d5d8305716")
        for said in (
            asked.request(question(), JSON, line, asked.bearer()),
            asked.request(question(), JSON, line),
            asked.request(b"{", JSON, line),
            asked.request(b"", line, method="GET"),
        ):
            assert said.headers["x-request-id"] == line[1].decode()

    @pytest.mark.parametrize("values", [[b""], [b"a b"], [b"a\xff"], [b"a" * 129], [b"a", b"a"]])
    def test_what_could_not_be_sent_back_is_refused(self, asked, values):
        said = asked.request(question(), JSON, *((b"x-request-id", one) for one in values), asked.bearer())
        assert said.status == 400
        assert "x-request-id" not in said.headers


def test_the_metadata_name_what_there_is(asked):
    said = asked.request(b"", target=METADATA, method="GET")
    assert (said.status, said.headers["content-type"]) == (200, "application/json")
    assert json.loads(said.body) == {
        "policy_decision_point": URL,
        "access_evaluation_endpoint": f"{URL}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{URL}/access/v1/evaluations",
    }
    assert asked.request(b"", target=METADATA, method="POST").status == 405
    assert AuthZen({}).converse("GET", METADATA.encode(), [], b"") is None


def test_other_targets_and_methods(asked):
    assert asked.request(b"", method="GET").headers["allow"] == "POST"
    assert asked.api.converse("POST", b"/access/v1/search/subject", [], b"") is None
    assert [asked.api.takes_body(one) for one in (b"/access/v1/evaluation", METADATA.encode(), b"/check/a/")] == [
        True,
        False,
        False,
    ]


def test_a_failure_is_an_error_and_never_a_decision(asked):
    asked.rig.keys = {}
    said = asked.request(question(context={"token": asked.rig.token()}), JSON)
    assert said.status == 503
    body = {**question(context={"token": asked.rig.token()}), "evaluations": [{}, {}]}
    found = asked.ask(body, target=EVALUATIONS)["evaluations"]
    assert [(one["decision"], one["context"]["status"]) for one in found] == [(False, 503)] * 2


def test_a_bug_is_an_error_and_no_token_is_anywhere(caplog):
    def broken(*_arguments):
        raise ZeroDivisionError("canary")

    asked = Asked(observe=broken)
    token = asked.rig.token()
    with caplog.at_level(logging.DEBUG):
        said = asked.request(question(context={"token": token}), JSON)
    assert said.status == 503
    assert "canary" not in caplog.text
    for text in (caplog.text, said.body.decode(), json.dumps(asked.rig.sink.records)):
        assert token not in text


@pytest.mark.parametrize("response", [b"", b"\x0a\x00", b"\xff", b"\x0a\x02\x08\x00"])
def test_what_is_no_answer_of_ours_is_no_decision(asked, response):
    steps = asked.api.converse("POST", EVALUATION.encode(), [JSON], json.dumps(question()).encode())
    next(steps)
    with pytest.raises(Exception) as caught:  # noqa: PT011 the engine answers 503 for anything
        steps.send(response)
    assert not (isinstance(caught.value, StopIteration) and isinstance(caught.value.value, HttpAnswer))
