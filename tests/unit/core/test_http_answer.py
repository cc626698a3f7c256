"""The gate's own HTTP answers: status, headers and body, for every reason, person, program and task."""

import json

import pytest

from authz.core.http_answer import for_task, refusal
from authz.core.messages import tasks
from authz.core.messages.page_frame import POLICY, Branding
from authz.core.model import Claims, Deny, HttpRequest, Identity, Level, Run
from authz.core.reasons import ANSWERS, Reason

RUN = Run("sales_daily", "run1", "extract", -1, 1, Level.VERIFIED)


def identity(username="alice@test"):
    claims = Claims(
        issuer_name="corp",
        issuer="https://idp.test",
        subject="alice",
        client_id="cli",
        username=username,
        full_name="Alice",
        groups=frozenset(),
        audiences=frozenset({"airflow"}),
        expires_at=2,
        issued_at=1,
        not_before=None,
    )
    return Identity(claims=claims, roles=frozenset({"viewer", "op"}))


def deny(reason=Reason.NO_RULE, *, html=False, who=None, http=None, **fields):
    """The answer on a listener with a login, to a browser (`html`) or to a program."""
    told = {"target": "/", "signout": "/oauth2/signout", "secure": True, **(http or {})}
    asked = HttpRequest("inbound", "airflow", "GET", "a", browser=html, **told)
    return refusal(Deny(reason=reason, **fields), decision_id="d1", identity=who, http=asked)


def deny_on(plane, reason, *, run=None, **fields):
    """The answer to a task."""
    http = HttpRequest(plane=plane, audience="", method="GET", authority="airflow", target="/x")
    return refusal(Deny(reason=reason, **fields), decision_id="d1", identity=None, http=http, run=run), http


# Status and headers.


@pytest.mark.parametrize("reason", [reason for reason in Reason if ANSWERS[reason].http != 200])
@pytest.mark.parametrize("html", [False, True])
def test_a_denial_has_the_status_and_the_headers_of_its_reason(reason, html):
    answer = deny(reason, html=html)
    status = 302 if html and reason is Reason.REVOKED else ANSWERS[reason].http
    assert answer.status == status
    assert answer.headers["content-type"] == ("text/html; charset=utf-8" if html else "application/json")
    assert answer.headers["x-authz-decision"] == "d1"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ("content-security-policy" in answer.headers) == html
    assert ("location" in answer.headers) == (status == 302)
    assert ("set-cookie" in answer.headers) == (status == 302 and reason is not Reason.SIGNED_IN)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert "retry-after" not in answer.headers
    assert b"d1" in answer.body


@pytest.mark.parametrize("reason", [reason for reason in Reason if ANSWERS[reason].http == 200])
def test_a_denial_cannot_be_built_from_a_reason_that_says_yes(reason):
    with pytest.raises(ValueError, match=f"^{reason} is no reason to deny$"):
        deny(reason)


def test_the_challenge_follows_rfc_6750():
    assert deny(Reason.NO_TOKEN).headers["www-authenticate"] == 'Bearer realm="airflow"'
    assert deny(Reason.EXPIRED).headers["www-authenticate"] == 'Bearer realm="airflow", error="invalid_token"'


def test_a_request_that_could_not_be_read_is_answered_as_a_programs():
    answer = refusal(Deny(reason=Reason.BAD_REQUEST), decision_id="d1", identity=None, http=None)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert json.loads(answer.body) == {
        "error": "bad_request",
        "message": ANSWERS[Reason.BAD_REQUEST].help,
        "decision_id": "d1",
    }
    busy = refusal(Deny(reason=Reason.OVERLOADED), decision_id="d1", identity=None, http=None)
    assert busy.status == 503
    assert "retry-after" not in busy.headers
    with pytest.raises(ValueError, match="leads nowhere"):
        refusal(Deny(reason=Reason.SIGNED_OUT), decision_id="d1", identity=None, http=None)
    with pytest.raises(ValueError, match="leads nowhere"):
        refusal(Deny(reason=Reason.SIGNED_IN), decision_id="d1", identity=None, http=None)


def test_an_answer_does_not_show_its_body_where_it_is_logged():
    assert "value" not in repr(for_task(b'{"value": "a.b.c"}', decision_id="d1"))


# Programs.


def test_the_json_body_says_who_and_what_was_missing():
    answer = deny(Reason.NO_RULE, who=identity(), operation="dag_runs:create", dag_id="sales_daily")
    assert json.loads(answer.body) == {
        "error": "no_rule",
        "message": "This needs the permission dag_runs:create on the DAG sales_daily. Your roles here: op, viewer.",
        "decision_id": "d1",
        "user": "alice@test",
    }


@pytest.mark.parametrize("html", [False, True])
def test_all_failed_authentications_have_the_same_body(html):
    bodies = {
        deny(reason, detail="secret", html=html).body for reason in Reason if ANSWERS[reason].public == "invalid_token"
    }
    assert len(bodies) == 1
    assert b"secret" not in bodies.pop()


# Pages.

SESSION = {"cookies": (b"theme=dark; BearerToken=x",)}


@pytest.mark.parametrize(
    ("reason", "who", "http", "link"),
    [
        (Reason.EXPIRED, None, SESSION, "Sign in again"),
        (Reason.NO_TOKEN, None, SESSION, "Sign in again"),
        (Reason.EXPIRED, None, {}, "Sign in"),  # there is nothing to end
        (Reason.EXPIRED, None, {**SESSION, "signout": ""}, "Try again"),  # nor a login here
        (Reason.NO_ROLE, identity(), SESSION, "Sign out"),
        (Reason.NO_ROLE, identity(), {}, "Sign out"),
        (Reason.NO_ROLE, identity(), {"signout": ""}, "To the start page"),
        (Reason.AMBIGUOUS_CREDENTIALS, None, SESSION, "Sign out"),
        (Reason.NO_RULE, identity(), SESSION, "To the start page"),
        (Reason.BAD_PATH, None, SESSION, "To the start page"),
        (Reason.INTERNAL_ERROR, None, SESSION, "Try again"),
    ],
)
def test_every_page_has_a_next_step(reason, who, http, link):
    targets = {"Sign in again": "/api/v2/auth/logout", "Sign out": "/api/v2/auth/logout", "Try again": ""}
    body = deny(reason, html=True, who=who, http=http).body.decode()
    target = targets.get(link, "/")
    assert f'<a href="{target}">{link}</a>' in body
    if target:
        below = deny(reason, html=True, who=who, http={**http, "base": '/air"flow'}).body.decode()
        assert f'<a href="/air&quot;flow{target}">{link}</a>' in below
    assert ("clock" in body) == (link == "Sign in again")


@pytest.mark.parametrize("reason", [reason for reason in Reason if ANSWERS[reason].http >= 400])
def test_a_page_names_who_runs_the_gate_the_time_and_the_decision(reason):
    branding = Branding(organisation="Data <Platform>", contact="data@example.com")
    http = HttpRequest("inbound", "airflow", "GET", "a", "/", browser=True)
    answer = refusal(
        Deny(reason=reason),
        decision_id="d1",
        identity=None,
        http=http,
        at=1_800_000_000.5,
        branding=branding,
    )
    body = answer.body.decode()
    assert "Data &lt;Platform&gt;" in body
    assert '<a href="mailto:data@example.com">data@example.com</a>' in body
    assert "<code>2027-01-15 08:00:00 UTC</code>" in body
    assert "<code>d1</code>" in body
    assert "<a " in body.partition('class="go"')[2]


def test_the_page_for_browsers_is_escaped_and_harmless():
    answer = deny(Reason.NO_RULE, html=True, who=identity("<script>alert(1)</script>"), dag_id="<b>")
    body = answer.body.decode()
    assert "<script" not in body
    assert "<b>" not in body
    assert "&lt;script&gt;" in body
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert "default-src 'none'" in POLICY


# Signing out, and in.

SECURE = "__Host-authz-signout=1; Path=/; Max-Age=20; HttpOnly; Secure; SameSite=Lax"
PLAIN = "authz-signout=1; Path=/oauth2/signout; Max-Age=20; HttpOnly; SameSite=Lax"


@pytest.mark.parametrize(("secure", "cookie"), [(True, SECURE), (False, PLAIN)])
@pytest.mark.parametrize("html", [True, False])
def test_who_signed_out_is_led_to_where_the_cookies_end(secure, cookie, html):
    answer = deny(Reason.SIGNED_OUT, html=html, http={"secure": secure})
    assert answer.status == 302
    assert (answer.headers["location"], answer.headers["set-cookie"]) == ("/oauth2/signout", cookie)


def test_a_revoked_session_is_a_redirect_on_a_page_with_signout_and_401_elsewhere():
    page = deny(Reason.REVOKED, html=True)
    assert (page.status, page.headers["location"], page.headers["set-cookie"]) == (302, "/oauth2/signout", SECURE)
    assert "www-authenticate" not in page.headers
    assert deny(Reason.REVOKED).status == 401
    assert "set-cookie" not in deny(Reason.REVOKED).headers
    assert deny(Reason.REVOKED, html=True, http={"signout": ""}).status == 401


def test_a_sign_out_that_leads_nowhere_is_a_bug():
    with pytest.raises(ValueError, match="leads nowhere"):
        deny(Reason.SIGNED_OUT, http={"signout": ""})


@pytest.mark.parametrize(
    ("target", "secure", "location"),
    [
        ("/login?next=%2Fdags%3Fa%3D1", True, "/dags?a=1"),
        ("/login?next=https%3A%2F%2Fa%2Fdags", True, "/dags"),
        ("/login?next=http%3A%2F%2Fa%2Fdags", False, "/dags"),
        ("/login?next=http%3A%2F%2Fa%2Fdags", True, "/airflow/"),  # another origin
        ("/login?next=https%3A%2F%2Fevil.test%2F", True, "/airflow/"),
        ("/login", True, "/airflow/"),
    ],
)
def test_a_browser_with_a_session_goes_back_from_the_login_route(target, secure, location):
    answer = deny(Reason.SIGNED_IN, html=True, http={"target": target, "secure": secure, "base": "/airflow"})
    assert (answer.status, answer.headers["location"]) == (302, location)
    assert "set-cookie" not in answer.headers


# Tasks.


def test_the_answer_that_gives_a_task_its_token_is_not_stored():
    answer = for_task(b'{"key": "k"}', decision_id="d1")
    assert (answer.status, answer.body) == (200, b'{"key": "k"}')
    assert answer.headers == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-authz-decision": "d1",
    }


@pytest.mark.parametrize(
    "reason", [Reason.EXPIRED, Reason.BAD_REQUEST, Reason.RUN_ENDED, Reason.NO_TOKEN, Reason.UNKNOWN_ROUTE]
)
def test_a_task_that_asks_for_an_identity_is_refused_with_403_and_without_a_challenge(reason):
    answer, _ = deny_on("execution", reason)
    assert answer.status == 403
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(("plane", "said"), [("egress", "2"), ("execution", "2"), ("inbound", None)])
def test_a_503_has_retry_after_on_egress_and_execution_and_not_inbound(plane, said):
    answer, _ = deny_on(plane, Reason.AIRFLOW_UNAVAILABLE)
    assert answer.status == 503
    assert answer.headers.get("retry-after") == said


@pytest.mark.parametrize("plane", ["egress", "execution"])
def test_a_task_reads_its_own_sentence_and_the_rule(plane):
    answer, http = deny_on(plane, Reason.DENY_RULE, run=RUN, rule="no-sales")
    said = tasks.message(Deny(reason=Reason.DENY_RULE, rule="no-sales"), RUN, http)
    assert "task extract of DAG sales_daily" in said
    assert json.loads(answer.body) == {
        "error": "deny_rule",
        "message": said,
        "decision_id": "d1",
        "rule": "no-sales",
    }


def test_a_person_reads_no_sentence_for_tasks_and_no_rule():
    answer, _ = deny_on("inbound", Reason.DENY_RULE, run=RUN, rule="no-sales")
    assert json.loads(answer.body) == {
        "error": "deny_rule",
        "message": "A rule of your organisation forbids this.",
        "decision_id": "d1",
    }
