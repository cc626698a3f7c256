"""What a task reads in its log when the gate says no."""

import pytest

from authz.core.messages.tasks import message
from authz.core.model import Deny, HttpRequest, Level, Run
from authz.core.reasons import ANSWERS, Reason

RUN = Run("sales_daily", "run1", "extract", -1, 1, Level.ASSERTED)
CALL = HttpRequest(
    plane="egress",
    audience="",
    method="POST",
    authority="10.0.0.1:80",
    target="/v1/orders?key=secret",
    destination="orders",
)


def said(reason, run=RUN, http=CALL, **fields):
    return message(Deny(reason=reason, **fields), run, http)


def test_no_rule_names_the_call_and_the_task():
    assert said(Reason.NO_RULE) == (
        "No egress rule allows POST /v1/orders at orders for task extract of DAG sales_daily."
        " Ask your platform team for one."
    )
    assert "this service account" in said(Reason.NO_RULE, run=None)
    assert "it has no role" in said(Reason.NO_ROLE, run=None)
    assert said(Reason.UNKNOWN_ROUTE) == said(Reason.NO_RULE)


def test_the_place_is_the_destination_else_the_host_that_is_judged_else_the_one_that_was_asked():
    for destination, host, expected in (
        ("orders", "o.test", "orders"),
        ("", "o.test", "o.test"),
        ("", "", "10.0.0.1:80"),
    ):
        http = HttpRequest("egress", "", "GET", "10.0.0.1:80", "/", destination=destination, host=host)
        assert f"GET / at {expected} for" in said(Reason.NO_RULE, http=http)


def test_the_path_is_the_one_that_rules_are_about_without_that_of_the_base_url():
    for base, target, expected in (
        ("/orders", "/orders/v1/7?key=secret", "/v1/7"),
        ("/orders", "/orders", "/orders"),
        ("/orders", "/ordersv1", "/ordersv1"),
        ("", "/orders/v1/7", "/orders/v1/7"),
    ):
        http = HttpRequest("egress", "", "GET", "10.0.0.1:80", target, destination="orders", base=base)
        assert f"allows GET {expected} at orders for" in said(Reason.NO_RULE, http=http)


def test_a_call_without_any_identity_is_led_to_the_connection_type():
    assert "`authz-http`" in said(Reason.NO_TOKEN, run=None)
    asks = HttpRequest("execution", "", "GET", "10.0.0.1:80", "/execution/variables/__run_identity__")
    assert said(Reason.NO_TOKEN, run=None, http=asks) == "", "Airflow's client, which shows nothing"


def test_a_deny_rule_is_named():
    text = said(Reason.DENY_RULE, rule="no-posts")
    assert text == "The rule `no-posts` forbids POST /v1/orders at orders for task extract of DAG sales_daily."
    unsure = said(Reason.DENY_RULE, rule="no-posts", detail="not sure")
    assert unsure == f"{text} Its run is known as `asserted` only."
    assert said(Reason.DENY_RULE, run=None, rule="r", detail="x").endswith("for this service account.")


def test_the_message_about_a_too_weak_identity_names_its_level():
    text = said(Reason.IDENTITY_TOO_WEAK, detail="the rule `a` asks for `verified`")
    assert "is only `asserted` (the rule `a` asks for `verified`)" in text
    assert "is only `unknown`." in said(Reason.IDENTITY_TOO_WEAK, run=None)


def test_what_airflow_says_is_passed_on():
    assert said(Reason.RUN_ENDED, detail="its state is 'success'").startswith(
        "The task extract of DAG sales_daily is not running any more: it has ended, or was cleared. Airflow says:"
    )
    assert said(Reason.RUN_ENDED, run=None) == "The task is not running any more: it has ended, or was cleared."
    assert said(Reason.RUN_OTHER_TRY, detail="the task is at try 2").endswith("Airflow says: the task is at try 2.")
    assert "another map index" in said(Reason.RUN_OTHER_MAP_INDEX)
    assert "not that of the DAG run" in said(Reason.RUN_MISMATCH)
    assert "cannot ask Airflow" in said(Reason.AIRFLOW_UNAVAILABLE)


@pytest.mark.parametrize("reason", list(Reason))
def test_no_message_shows_the_query_and_a_failure_to_authenticate_says_nothing(reason):
    text = said(reason, detail="detail")
    assert "secret" not in text
    if ANSWERS[reason].http in {400, 401} and reason is not Reason.NO_TOKEN:  # who shows none knows that
        assert text == ""


def test_names_are_cut_and_control_characters_do_not_get_through():
    http = HttpRequest("egress", "", "GET\n", "h\x1b[31m", "/" + "a" * 500)
    text = said(Reason.NO_RULE, run=RUN._replace(task_id="t" * 500, dag_id="d\r\n"), http=http)
    assert text.isprintable()
    assert len(text) < 700
