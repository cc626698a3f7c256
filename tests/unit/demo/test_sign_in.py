"""Airflow's login route behind a login at the edge: a session is led back to its page, whatever the policy says."""

import pytest

from authz.check.sign_out import SIGN_IN
from authz.core import catalogue
from tests.support.rigs.service import POLICY, Rig

LOGIN = "/api/v2/auth/login"
EDGE = {"signout": "/oauth2/signout"}
HTML = [("accept", b"text/html,*/*;q=0.8")]
NO_ROLE = POLICY.replace("viewer: {", "other: {").replace("[viewer]", "[other]")


def test_the_operation_is_one_of_the_catalogue():
    assert SIGN_IN in catalogue.load(catalogue.versions()[-1]).operations


@pytest.mark.parametrize("policy", [POLICY, NO_ROLE], ids=["no rule for it", "no role at all"])
@pytest.mark.parametrize("path", [LOGIN, "/auth/login", "/auth/login/", "/auth/gate"])
def test_a_caller_with_a_session_is_redirected_back_to_the_page(policy, path):
    rig = Rig(policy)
    for headers in ([], HTML):
        target = f"{path}?next=%2Fdags%2Fsales_daily%3Ftab%3Druns"
        answer = rig.check("GET", target, token=rig.token(), headers=headers, **EDGE)
        assert (answer.allowed, answer.http, answer.reason) == (False, 302, "signed_in")
        assert answer.set["location"] == "/dags/sales_daily?tab=runs"
    record = rig.record
    assert (record["decision"], record["reason"], record["operation"]) == ("deny", "signed_in", SIGN_IN)
    assert "next" not in str(record)


@pytest.mark.parametrize("link", ["//evil.test", "/%5Cevil.test", "https:evil.test", "https://evil.test/x", ""])
def test_a_next_that_leads_off_site_is_replaced_by_the_start_page(link):
    rig = Rig()
    assert rig.check("GET", f"{LOGIN}?next={link}", token=rig.token(), **EDGE).set["location"] == "/"
    below = rig.check("GET", f"/airflow{LOGIN}?next={link}", token=rig.token(), base="/airflow", **EDGE)
    assert below.set["location"] == "/airflow/"


def test_an_address_of_this_very_site_is_its_path():
    rig = Rig()
    for origin, path in (("http%3A%2F%2Fgate.test", "/dags/x"), ("http%3A%2F%2Fgate.test%3A8443", "/")):
        answer = rig.check("GET", f"{LOGIN}?next={origin}%2Fdags%2Fx", token=rig.token(), scheme="http", **EDGE)
        assert answer.set["location"] == path


def test_without_a_session_or_a_login_at_the_edge_it_is_a_route_like_any_other():
    rig = Rig()
    assert rig.check("GET", f"{LOGIN}?next=/dags", **EDGE).http == 401
    assert rig.check("GET", f"{LOGIN}?next=/dags", token="x.y.z", **EDGE).http == 401
    assert rig.check("GET", f"{LOGIN}?next=/dags", token=rig.token()).reason == "no_rule"
    assert rig.check("POST", f"{LOGIN}?next=/dags", token=rig.token(), **EDGE).reason != "signed_in"
