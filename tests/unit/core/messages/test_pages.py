"""The body of a denial: what was missing, and what to do next. The frame around it: test_page_frame.py."""

import json

import pytest

from authz.core.messages import pages
from authz.core.messages.page_frame import Branding
from authz.core.model import Claims, Deny, Identity
from authz.core.reasons import ANSWERS, Reason

OUT = "/api/v2/auth/logout"
CLAIMS = Claims(
    issuer_name="corp",
    issuer="https://idp.test",
    subject="alice",
    client_id="cli",
    username="alice@test",
    full_name="Alice",
    groups=frozenset(),
    audiences=frozenset({"airflow"}),
    expires_at=2,
    issued_at=1,
    not_before=None,
)
ALICE = Identity(claims=CLAIMS, roles=frozenset({"viewer", "op"}))
NO_ROLES = Identity(claims=CLAIMS, roles=frozenset())
DENIALS = [reason for reason in Reason if ANSWERS[reason].http != 200]


def html(reason=Reason.NO_RULE, who=None, *, settings=None, **fields):
    return pages.as_html(Deny(reason=reason, **fields), who, "d1", **(settings or {})).decode()


def link_of(page):
    """The links below the message, as `href text`."""
    below = page.partition('<p class="go">')[2].partition("</p>")[0]
    return [part.partition("</a>")[0].replace('">', " ") for part in below.split('<a href="')[1:]]


@pytest.mark.parametrize(
    ("fields", "who", "said"),
    [
        ({"operation": "dags:read", "dag_id": "a"}, ALICE, "This needs the permission dags:read on the DAG a. "),
        ({"operation": "dags:read", "dag_id": "~"}, ALICE, "This needs the permission dags:read on all DAGs. "),
        (
            {"operation": "dags:read", "dag_id": "~", "narrowed": True},
            ALICE,
            "This needs the permission dags:read on one DAG at least. ",
        ),
        ({"dag_id": "a", "narrowed": True}, ALICE, "This needs permission for this address on the DAG a. "),
        ({}, ALICE, "This needs permission for this address. "),
        ({"operation": "pools:read"}, NO_ROLES, "This needs the permission pools:read. "),
        ({"operation": "pools:read"}, None, "This needs the permission pools:read. "),
    ],
)
def test_what_was_missing_is_said_with_the_callers_roles(fields, who, said):
    roles = "Your roles here: op, viewer." if who is ALICE else "You have no role here."
    assert pages.message(Deny(reason=Reason.NO_RULE, **fields), who) == said + roles


@pytest.mark.parametrize(
    ("reason", "for_programs", "for_people"),
    [
        (Reason.EXPIRED, "A valid token is needed.", "Your sign-in is missing, has ended, or is not accepted here."),
        (Reason.NO_TOKEN, "A valid token is needed.", "Your sign-in is missing, has ended, or is not accepted here."),
        (
            Reason.OVERLOADED,
            "Nothing was forwarded. Try again shortly; if it persists, give the decision id to your platform team.",
            "Nothing was forwarded to Airflow. Try again shortly.",
        ),
        (Reason.BAD_PATH, ANSWERS[Reason.BAD_PATH].help, ANSWERS[Reason.BAD_PATH].help),
        (Reason.DENY_RULE, "A rule of your organisation forbids this.", "A rule of your organisation forbids this."),
    ],
)
def test_a_program_and_a_person_read_words_for_them(reason, for_programs, for_people):
    assert json.loads(pages.as_json(Deny(reason=reason), None, "d1"))["message"] == for_programs
    page = html(reason)
    assert f"<p>{for_people}" in page
    assert (for_programs in page) == (for_programs == for_people)


def test_a_sign_out_that_was_not_recorded_is_not_shown_as_a_success():
    assert "You are NOT signed out" in html(Reason.REVOCATION_UNAVAILABLE)
    assert "You are NOT signed out" in pages.message(Deny(reason=Reason.REVOCATION_UNAVAILABLE), None)


@pytest.mark.parametrize("reason", DENIALS)
def test_json_has_the_public_word_and_nothing_for_the_operator(reason):
    denied = Deny(reason=reason, rule="r1", detail="secret")
    assert json.loads(pages.as_json(denied, None, "d1")) == {
        "error": ANSWERS[reason].public,
        "message": pages.message(denied, None),
        "decision_id": "d1",
    }
    assert "secret" not in html(reason, rule="r1", detail="secret")


def test_json_names_the_user_and_to_a_task_the_rule():
    denied = Deny(reason=Reason.DENY_RULE, rule="r1")
    told = json.loads(pages.as_json(denied, ALICE, "d1", said="The rule forbids it."))
    assert told == {
        "error": "deny_rule",
        "message": "The rule forbids it.",
        "decision_id": "d1",
        "rule": "r1",
        "user": "alice@test",
    }
    without_a_user = json.loads(pages.as_json(denied, None, "d1", said="The rule forbids it."))
    assert without_a_user == {name: value for name, value in told.items() if name != "user"}
    assert "rule" not in json.loads(pages.as_json(denied, None, "d1")), "only a task is told"
    assert "rule" not in json.loads(pages.as_json(Deny(reason=Reason.NO_RULE), None, "d1", said="No rule allows it."))


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        (Reason.SIGNED_IN, "You are signed in"),
        (Reason.SIGNED_OUT, "You are signed out"),
        (Reason.BAD_PATH, "This request cannot be understood"),
        (Reason.EXPIRED, "Please sign in"),
        (Reason.NO_RULE, "You do not have access to this"),
        (Reason.OVERLOADED, "Access cannot be checked right now"),
    ],
)
def test_the_title_says_what_happened(reason, title):
    assert f"<title>{title}</title>" in html(reason)


@pytest.mark.parametrize("reason", DENIALS)
@pytest.mark.parametrize("sign_out", ["", OUT])
@pytest.mark.parametrize("login", [False, True])
def test_every_page_has_links_to_our_own_paths_alone(reason, sign_out, login):
    found = link_of(html(reason, ALICE, settings={"start": "/a/", "sign_out": sign_out, "login": login}))
    assert found
    assert {link.partition(" ")[0] for link in found} <= {"", "/a/", OUT} - ({OUT} if not sign_out else set())


@pytest.mark.parametrize(
    ("reason", "sign_out", "login", "links"),
    [
        (Reason.OVERLOADED, OUT, True, [" Try again"]),
        (Reason.EXPIRED, OUT, True, [f"{OUT} Sign in again"]),
        (Reason.EXPIRED, "", True, ["/a/ Sign in"]),
        (Reason.EXPIRED, "", False, [" Try again"]),
        (Reason.NO_ROLE, OUT, True, [f"{OUT} Sign out"]),
        (Reason.NO_ROLE, "", False, ["/a/ To the start page"]),
        (Reason.AMBIGUOUS_CREDENTIALS, OUT, True, [f"{OUT} Sign out"]),
        (Reason.SIGNED_OUT, OUT, True, ["/a/ Sign in again"]),
        (Reason.SIGNED_OUT, "", True, ["/a/ Sign in again"]),
        (Reason.NO_RULE, OUT, True, ["/a/ To the start page", f"{OUT} Sign out"]),
        (Reason.NO_RULE, "", True, ["/a/ To the start page"]),
        (Reason.BAD_PATH, OUT, True, ["/a/ To the start page"]),
    ],
)
def test_the_next_step_fits_the_reason(reason, sign_out, login, links):
    assert link_of(html(reason, settings={"start": "/a/", "sign_out": sign_out, "login": login})) == links


@pytest.mark.parametrize(
    ("sign_out", "login", "clock", "elsewhere"),
    [(OUT, True, True, False), (OUT, False, True, False), ("", True, False, False), ("", False, False, True)],
)
def test_who_must_sign_in_reads_why_or_where(sign_out, login, clock, elsewhere):
    body = html(Reason.EXPIRED, settings={"sign_out": sign_out, "login": login})
    assert ("a clock may be wrong" in body) == clock
    assert ("has no sign-in page of its own" in body) == elsewhere
    other = html(Reason.NO_RULE, settings={"sign_out": sign_out, "login": login})
    assert "a clock may be wrong" not in other
    assert "has no sign-in page of its own" not in other


def test_a_page_shows_the_user_the_time_the_decision_and_who_runs_the_gate():
    body = html(Reason.NO_ROLE, NO_ROLES, settings={"at": 1_800_000_000.5, "branding": Branding(organisation="Data")})
    assert "none of your groups has a role here" in body
    assert "<dd><code>alice@test</code></dd>" in body
    assert "<dd><code>2027-01-15 08:00:00 UTC</code></dd>" in body
    assert "<dd><code>d1</code></dd>" in body
    assert "Data" in body
    anonymous = html(Reason.NO_RULE)
    assert "Signed in as" not in anonymous
    assert "UTC" not in anonymous
