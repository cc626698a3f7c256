"""The codec against the independent encoder and decoder of envoy-data-plane."""

from dataclasses import replace

import pytest
from envoy_data_plane.envoy.config.core.v3 import Address, HeaderMap, HeaderValue, SocketAddress
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextPeer,
    AttributeContextRequest,
    CheckRequest,
    CheckResponse,
)

from authz.check import wire
from authz.core import edge
from authz.core.errors import RequestError
from authz.core.http_answer import HttpAnswer, for_task, refusal
from authz.core.model import Claims, Deny, HttpRequest, Identity, Level, Run
from authz.core.reasons import ANSWERS, GrpcCode, Reason

METADATA = {"decision_id": "d1", "reason": "rule", "rule": "r1", "revision": "abc", "subject": "alice"}


def check_request(headers=(), *, raw=True, plain=None, signout=None, marker=None, told=None, **http):
    request = AttributeContextHttpRequest(
        **{"id": "1", "method": "GET", "path": "/api/v2/dags?limit=1", "host": "airflow.test", **http},
        headers=plain or {},
        header_map=HeaderMap(headers=[HeaderValue(key=key, raw_value=value) for key, value in headers])
        if raw
        else None,
    )
    source = AttributeContextPeer(address=Address(socket_address=SocketAddress(address="10.0.0.9", port_value=1)))
    return bytes(
        CheckRequest(
            attributes=AttributeContext(
                source=source,
                request=AttributeContextRequest(http=request),
                context_extensions={
                    "plane": "inbound",
                    "audience": "airflow",
                    **({} if signout is None else {"signout": signout}),
                    **({} if marker is None else {"marker": marker}),
                    **(told or {}),
                },
            )
        )
    )


def test_context_extensions_come_through_and_may_be_absent():
    told = CheckRequest.parse(check_request())
    told.attributes.context_extensions |= {"base": "/airflow"}
    http = wire.parse(bytes(told))
    assert (http.plane, http.audience, http.base) == ("inbound", "airflow", "/airflow")
    assert wire.parse(check_request()).base == ""


@pytest.mark.parametrize(
    ("told", "narrowed"),
    [
        ({"dags": "narrowed"}, True),
        ({"dags": "narrowed", "audience": ""}, False),  # without an assertion nobody could say which DAGs
        ({"dags": "Narrowed"}, False),
        ({"dags": "true"}, False),
        ({"dags": ""}, False),
        ({}, False),
    ],
)
def test_narrowed_needs_the_exact_word_and_an_audience(told, narrowed):
    message = CheckRequest.parse(check_request())
    message.attributes.context_extensions |= told
    assert wire.parse(bytes(message)).narrowed is narrowed


def identity(**changes):
    claims = {
        "issuer_name": "corp",
        "issuer": "https://idp.test",
        "subject": "alice",
        "client_id": "cli",
        "username": "alice@test",
        "full_name": "Alice",
        "groups": frozenset(),
        "audiences": frozenset({"airflow"}),
        "expires_at": 2,
        "issued_at": 1,
        "not_before": None,
    }
    return Identity(claims=Claims(**{**claims, **changes}), roles=frozenset({"viewer", "op"}))


def allow(headers=None, cookies=None):
    return CheckResponse.parse(
        wire.allowed(decision_id="d1", headers=headers or {}, cookies=cookies, metadata=METADATA)
    )


def answer_of(reason, *, html=False):
    http = HttpRequest("inbound", "airflow", "GET", "a", "/", browser=html, signout="/oauth2/signout", secure=True)
    return refusal(Deny(reason=reason), decision_id="d1", identity=None, http=http)


def deny(answer, reason=Reason.NO_RULE):
    return CheckResponse.parse(wire.denied(answer, reason=reason, metadata=METADATA))


def names(options):
    """Names and values; only `value`, because Envoy ignores `raw_value` in an answer."""
    return {option.header.key: option.header.value for option in options}


def test_parse_reads_what_the_decision_needs():
    headers = [
        (":path", b"/x"),
        ("Authorization", b"Bearer a"),
        ("authorization", b"Bearer b"),
        ("cookie", b"a=1"),
        ("cookie", b"b=\xff"),
        ("accept", b"text/html"),
        ("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
    ]
    http = wire.parse(check_request(headers))
    assert (http.plane, http.audience, http.method) == ("inbound", "airflow", "GET")
    assert (http.authority, http.target) == ("airflow.test", "/api/v2/dags?limit=1")
    assert http.authorization == (b"Bearer a", b"Bearer b")
    assert http.cookies == (b"a=1", b"b=\xff")
    assert http.browser
    assert http.traceparent.startswith("00-aaaa")
    assert http.source == "10.0.0.9"


@pytest.mark.parametrize(
    ("signout", "scheme", "read"),
    [
        ("/oauth2/signout", "https", ("/oauth2/signout", True)),
        ("/oauth2/signout", "http", ("/oauth2/signout", False)),
        (None, "https", ("", False)),
        ("", "https", ("", False)),
        *((bad, "https", ("", False)) for bad in ("//evil.test", "https://evil.test", "/a;b", "/a\r\nb", "/a/", "a")),
    ],
)
def test_parse_accepts_only_a_plain_path_as_signout(signout, scheme, read):
    http = wire.parse(check_request(signout=signout, scheme=scheme))
    assert (http.signout, http.secure) == read


@pytest.mark.parametrize(
    ("marker", "scheme", "secure"),
    [
        ("__Host-authz-signout", "http", True),
        ("authz-signout", "https", False),
        (None, "https", True),
        (None, "http", False),
    ],
)
def test_the_marker_is_the_one_that_envoy_awaits(marker, scheme, secure):
    """A balancer may end TLS in front of Envoy: the browser speaks it, and the listener does not."""
    assert wire.parse(check_request(signout="/s", marker=marker, scheme=scheme)).secure is secure


def test_parse_falls_back_to_the_plain_header_map():
    http = wire.parse(check_request(raw=False, plain={"authorization": "Bearer a", "x": "y"}))
    assert http.authorization == (b"Bearer a",)


@pytest.mark.parametrize("message", [b"", b"\xff\xff", check_request(method=""), check_request(path="")])
def test_what_is_no_http_request_is_refused(message):
    with pytest.raises(RequestError) as caught:
        wire.parse(message)
    assert caught.value.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    "entry",
    [
        b"\x1a\x03a b\x0a\x0dauthorization",  # value first
        b"\x12\x03a b\x0a\x0dAuthorization",  # as text, and the name as an old client writes it
        b"\x0a\x06accept\x1a\x03a b\x0a\x0dauthorization",  # of a field that comes twice the last one counts
        b"\x0a\x8d\x00authorization\x1a\x03a b",  # a length of more bytes than it needs
        b"\xa2\x06\x01x\x0a\x0dauthorization\x1a\x03a b",  # a field that we do not know
    ],
)
@pytest.mark.parametrize("plane", ["inbound", "egress"])
def test_a_header_is_read_however_its_entry_is_encoded(entry, plane):
    assert wire.parse(with_entries(entry, plane=plane)).authorization == (b"a b",)


@pytest.mark.parametrize("plane", ["inbound", "egress"])
def test_an_entry_without_a_name_and_a_value_hides_no_other(plane):
    authorization, other = b"\x0a\x0dauthorization\x1a\x03a b", b"\x0a\x05:path\x1a\x01/"
    for entries in ((b"", authorization, other), (other, authorization, b""), (authorization, other)):
        assert wire.parse(with_entries(*entries, plane=plane)).authorization == (b"a b",)


def test_every_header_that_is_read_on_egress_is_found_among_others():
    others = [":authority", ":method", ":path", "accept", "user-agent", "x" * 127, *("x" * n for n in (6, 14, 19))]
    headers = [(name, b"v") for name in (*others, *edge.READ_ON_EGRESS, *others)]
    http = wire.parse(check_request(headers, told={"plane": "egress"}))
    assert (http.authorization, http.cookies, http.traceparent) == ((b"v",), (b"v",), "v")
    assert (http.run_identity, http.run_proof, http.proxy_authorization) == ((b"v",), (b"v",), (b"v",))


@pytest.mark.parametrize("plane", ["inbound", "egress"])
@pytest.mark.parametrize("entry", [b"\x0a\x0dauth", b"\x0a\x06acc\xffpt\x1a\x01x", b"\x1a\xff", b"\x0f", b"\x0a"])
def test_an_entry_that_is_no_header_is_refused(entry, plane):
    with pytest.raises(RequestError) as caught:
        wire.parse(with_entries(entry, plane=plane))
    assert caught.value.reason is Reason.BAD_REQUEST


def with_entries(*entries, plane="inbound"):
    """A CheckRequest whose header map holds these bytes."""

    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    header_map = b"".join(field(1, entry) for entry in entries)
    http = field(2, b"GET") + field(4, b"/") + field(13, header_map)
    extension = field(10, field(1, b"plane") + field(2, plane.encode()))
    return field(1, field(4, field(2, http)) + extension)


def test_invalid_utf8_in_a_string_field_is_refused_not_crashed():
    message = check_request(method="METHOD").replace(b"METHOD", b"\xff\xfe\xfd\xff\xfe\xfd")
    with pytest.raises(RequestError):
        wire.parse(message)


def test_an_allowed_response_sets_or_removes_every_identity_header():
    response = allow(wire.identity_headers(identity(), "a.b.c"))
    assert response.status.code == GrpcCode.OK
    assert names(response.ok_response.headers) == {
        "x-authz-subject": "alice",
        "x-authz-user": "alice@test",
        "x-authz-issuer": "https://idp.test",
        "x-authz-client": "cli",
        "x-authz-roles": "op,viewer",
        "x-authz-assertion": "a.b.c",
        "x-authz-decision": "d1",
    }
    of_runs = {edge.DAG, edge.RUN, edge.TASK, edge.LEVEL}
    assert set(response.ok_response.headers_to_remove) == {*wire.NEVER_FORWARDED, *of_runs}
    assert names(response.ok_response.response_headers_to_add) == {"x-authz-decision": "d1"}


def test_without_an_identity_every_identity_header_is_removed():
    response = allow()
    assert set(edge.IDENTITY_HEADERS) <= set(response.ok_response.headers_to_remove)
    assert names(response.ok_response.headers) == {"x-authz-decision": "d1"}


def test_metadata_reaches_the_access_log():
    assert allow().dynamic_metadata.to_dict() == METADATA
    assert deny(answer_of(Reason.NO_RULE)).dynamic_metadata.to_dict() == METADATA


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a\r\nx-admin: 1", "a%0D%0Ax-admin:%201"),
        ("é", "%C3%A9"),
        ("100%", "100%25"),
        (" lead", "%20lead"),
        ("Alice Doe", "Alice Doe"),
        ("\ud800", "?"),
        ("\x00\x7f", "%00%7F"),
    ],
)
def test_claims_are_sent_as_visible_ascii(value, sent):
    assert wire.identity_headers(identity(username=value), "")[edge.USER] == sent


def test_what_is_empty_or_too_long_is_removed_instead():
    headers = wire.identity_headers(identity(client_id="", username="x" * 1025), "")
    assert edge.CLIENT not in headers
    assert edge.USER not in headers
    assert edge.ASSERTION not in headers
    who = Identity(claims=identity().claims, roles=frozenset(f"role-{i}" for i in range(1000)))
    assert edge.ROLES not in wire.identity_headers(who, "")


@pytest.mark.parametrize(
    ("cookies", "set_to", "removed"), [(None, None, False), ("", None, True), ("a=1", "a=1", False)]
)
def test_the_cookies_that_are_left_go_on(cookies, set_to, removed):
    response = allow(cookies=cookies).ok_response
    assert ("cookie" in response.headers_to_remove) == removed
    assert names(response.headers).get("cookie") == set_to


@pytest.mark.parametrize("reason", [reason for reason in Reason if ANSWERS[reason].http != 200])
@pytest.mark.parametrize("html", [False, True])
def test_a_denial_is_never_an_ok_and_carries_the_whole_answer(reason, html):
    answer = answer_of(reason, html=html)  # tests/unit/core/test_http_answer.py says what is in it
    response = deny(answer, reason)
    assert response.status.code == ANSWERS[reason].grpc != 0
    assert response.ok_response is None
    assert response.denied_response.status.code == answer.status != 200
    assert names(response.denied_response.headers) == answer.headers
    assert response.denied_response.body == answer.body.decode() != ""


def test_a_denial_is_known_by_its_first_bytes():
    for reason in Reason:
        if ANSWERS[reason].grpc != GrpcCode.OK and ANSWERS[reason].http != 200:
            assert wire.is_denial(wire.denied(answer_of(reason), reason=reason, metadata=METADATA)), reason
    for headers in ({}, {"x-authz-subject": "alice"}):
        assert not wire.is_denial(wire.allowed(decision_id="d1", headers=headers, cookies=None, metadata=METADATA))
    assert not wire.is_denial(b""), "Envoy reads it as an allow"


def prepared(cookies=None, **headers):
    return wire.PreparedAllow(
        headers=headers, cookies=cookies, metadata={key: METADATA[key] for key in METADATA if key != "decision_id"}
    )


@pytest.mark.parametrize("headers", [{}, {"x-authz-subject": "alice", "x-authz-assertion": "a.b.c"}])
@pytest.mark.parametrize("cookies", [None, "", "a=1"])
def test_a_prepared_allow_is_the_same_as_one_that_is_built(headers, cookies):
    made = prepared(cookies, **headers)
    for decision_id in ("0123456789abcdef01234567", "f" * 24):
        built = wire.allowed(
            decision_id=decision_id, headers=headers, cookies=cookies, metadata={**METADATA, "decision_id": decision_id}
        )
        assert CheckResponse.parse(made.render(decision_id)) == CheckResponse.parse(built)


@pytest.mark.parametrize("decision_id", ["", "short", "0" * 23, "0" * 25])
def test_a_prepared_allow_takes_ids_of_one_length_only(decision_id):
    with pytest.raises(ValueError, match="24 characters"):
        prepared().render(decision_id)


def test_a_prepared_allow_notices_a_mark_that_stands_elsewhere_too():
    with pytest.raises(ValueError, match="does not stand where it should"):
        prepared(**{"x-authz-subject": wire.response._MARK})


@pytest.mark.parametrize("decision_id", ["0123456789abcdef01234567", "f" * 24])
def test_a_prepared_denial_is_the_same_as_one_that_is_built(decision_id):
    def answer(of):
        body = f'{{"decision_id": "{of}"}}'.encode()
        return HttpAnswer(status=403, headers={"x-authz-decision": of, "cache-control": "no-store"}, body=body)

    made = wire.PreparedDeny(answer, reason=Reason.NO_RULE, metadata=METADATA)
    built = wire.denied(answer(decision_id), reason=Reason.NO_RULE, metadata={**METADATA, "decision_id": decision_id})
    assert CheckResponse.parse(made.render(decision_id)) == CheckResponse.parse(built)


def test_no_allow_is_prepared_as_a_denial():
    answer = HttpAnswer(status=200, headers={}, body=b"{}")
    with pytest.raises(ValueError, match="no reason to deny"):
        wire.PreparedDeny(lambda _id: answer, reason=Reason.RULE, metadata=METADATA)


RUN = Run("sales_daily", "scheduled__2026-11-22T00:00:00+00:00", "load.orders", 3, 2, Level.VERIFIED)


def outbound(headers=(), *, told=None, **http):
    return wire.parse(check_request(headers, told={"plane": "egress", **(told or {})}, **http))


def test_a_call_of_a_task_is_read_with_its_three_headers_line_by_line():
    http = outbound(
        [
            ("X-Run-Identity", b"DPoP a.b.c"),
            ("x-run-proof", b"d.e.f"),
            ("x-run-proof", b"g.h.i"),
            ("proxy-authorization", b"Basic cnVuOng="),
            ("authorization", b"Bearer t"),
            ("cookie", b"a=b"),
            ("x-run-other", b"z"),
            ("accept", b"text/html"),
        ],
        told={"destination": "orders", "host": "orders.internal", "audience": "orders", "authorization": "keep"},
    )
    assert http.run_identity == (b"DPoP a.b.c",)
    assert http.run_proof == (b"d.e.f", b"g.h.i")
    assert http.proxy_authorization == (b"Basic cnVuOng=",)
    assert http.authorization == (b"Bearer t",)
    assert http.cookies == (b"a=b",)
    assert (http.destination, http.host, http.audience) == ("orders", "orders.internal", "orders")
    assert http.keeps_authorization
    assert not http.browser


def test_headers_of_a_caller_never_stand_in_for_context_extensions():
    http = outbound([("destination", b"orders"), ("host", b"x"), ("authorization", b"keep")])
    assert (http.destination, http.host, http.keeps_authorization) == ("", "", False)


@pytest.mark.parametrize("word", ["", "Keep", "keep ", "strip"])
def test_only_the_exact_word_keeps_authorization(word):
    assert not outbound(told={"authorization": word}).keeps_authorization


def test_a_tunnel_has_no_path_and_anything_else_needs_one():
    assert outbound(method="CONNECT", path="", host="orders.internal:443").target == ""
    with pytest.raises(RequestError):
        outbound(method="GET", path="")


@pytest.mark.parametrize("plane", ["inbound", "execution", ""])
def test_the_headers_of_runs_are_read_on_egress_alone(plane):
    headers = [("x-run-identity", b"DPoP a"), ("x-run-proof", b"b"), ("proxy-authorization", b"Bearer c")]
    http = wire.parse(check_request(headers, told={"plane": plane, "authorization": "keep", "destination": "orders"}))
    assert (http.run_identity, http.run_proof, http.proxy_authorization) == ((), (), ())
    assert (http.keeps_authorization, http.destination) == (False, "")


def test_a_run_is_named_to_the_destination():
    who = replace(identity(), run=RUN)
    response = allow(wire.identity_headers(who, ""))
    shown = names(response.ok_response.headers)
    assert shown["x-authz-dag"] == "sales_daily"
    assert shown["x-authz-run"] == "scheduled__2026-11-22T00:00:00+00:00"
    assert shown["x-authz-task"] == "load.orders"
    assert shown["x-authz-identity"] == "verified"
    assert {"x-authz-dag", "x-authz-run"}.isdisjoint(response.ok_response.headers_to_remove)


@pytest.mark.parametrize("long", ["dag_id", "run_id", "task_id"])
def test_a_run_is_named_in_full_or_not_at_all(long):
    who = replace(identity(), run=RUN._replace(**{long: "é" * 200}))
    response = allow(wire.identity_headers(who, ""))
    assert {"x-authz-dag", "x-authz-run", "x-authz-task", "x-authz-identity"} <= set(
        response.ok_response.headers_to_remove
    )


def test_names_of_runs_are_visible_ascii():
    run = RUN._replace(dag_id="été\r\nx: y", task_id="a b")
    shown = wire.identity_headers(replace(identity(), run=run), "")
    assert shown["x-authz-dag"] == "%C3%A9t%C3%A9%0D%0Ax:%20y"
    assert shown["x-authz-task"] == "a b"


def test_authorization_is_kept_only_where_that_is_said():
    headers = {"decision_id": "d1", "headers": {}, "cookies": None, "metadata": METADATA}
    kept = CheckResponse.parse(wire.allowed(**headers, keep=True)).ok_response.headers_to_remove
    assert set(wire.NEVER_FORWARDED) - set(kept) == {"authorization"}
    assert set(wire.NEVER_FORWARDED) <= set(CheckResponse.parse(wire.allowed(**headers)).ok_response.headers_to_remove)


def test_what_a_task_asked_for_is_a_denial_to_envoy():
    response = CheckResponse.parse(
        wire.denied(for_task(b'{"key": "k"}', decision_id="d1"), reason=Reason.RUN_TOKEN_ISSUED, metadata=METADATA)
    )
    assert response.status.code == GrpcCode.PERMISSION_DENIED
    assert response.ok_response is None
    assert int(response.denied_response.status.code) == 200
    assert response.denied_response.body == '{"key": "k"}'
    assert names(response.denied_response.headers)["content-type"] == "application/json"
    assert names(response.denied_response.headers)["cache-control"] == "no-store"


@pytest.mark.parametrize("reason", [reason for reason in Reason if ANSWERS[reason].grpc == GrpcCode.OK])
def test_envoy_never_reads_a_denial_as_an_allow(reason):
    answer = HttpAnswer(status=403, headers={}, body=b"")
    with pytest.raises(ValueError, match="no reason to deny"):
        wire.denied(answer, reason=reason, metadata=METADATA)
