"""The section `[authz]` of Airflow's configuration."""

from pathlib import Path

import pytest

from authz.airflow import options
from authz.airflow.options import OptionsError
from authz.airflow.pages import REFUSED

GOOD = {"issuer": "https://gate.test", "audience": "airflow", "jwks_url": "http://127.0.0.1:9901/jwks.json"}


def read(**changes):
    values = {**GOOD, **changes}
    return options.read(values.get)


def problems(**changes):
    with pytest.raises(OptionsError) as caught:
        read(**changes)
    return caught.value.problems


def test_the_smallest_section():
    found = read()
    assert (found.expected.issuer, found.expected.audience, found.expected.clock_skew) == (
        "https://gate.test",
        "airflow",
        5,
    )
    assert found.jwks_url == "http://127.0.0.1:9901/jwks.json"
    assert (found.jwks_file, found.login_url, found.logout_url) == (None, "", "")


def test_a_full_section():
    found = read(
        jwks_url=None,
        jwks_file="/etc/keys.json",
        clock_skew=" 0 ",
        login_url="/login",
        logout_url="https://gate.test/out",
    )
    assert found.jwks_file == Path("/etc/keys.json")
    assert found.expected.clock_skew == 0
    assert (found.login_url, found.logout_url) == ("/login", "https://gate.test/out")


def test_large_grants_are_asked_for_beside_the_keys_or_where_the_section_says():
    assert read().grants_urls == ("http://127.0.0.1:9901/grants/",)
    assert read(jwks_url="https://gate.test/gate/jwks.json?x=1").grants_urls == ("https://gate.test/gate/grants/",)
    assert read(jwks_url="", jwks_file="/etc/keys.json").grants_urls == ()
    two = read(jwks_url="", jwks_file="/k", grants_url="https://a.test/grants, http://127.0.0.1:1/grants/ ,")
    assert two.grants_urls == ("https://a.test/grants/", "http://127.0.0.1:1/grants/")


def test_the_url_for_large_grants_must_be_https_like_that_of_the_keys():
    assert "grants_url` (AIRFLOW__AUTHZ__GRANTS_URL) must be https" in problems(grants_url="http://gate.test/grants")[0]
    assert read(grants_url="http://gate.test/grants", jwks_insecure_http="true")
    assert "is not a URL" in problems(grants_url="gate")[0]


def test_the_options_of_workers_are_no_mistakes():
    assert options.read(GOOD.get, given=[*GOOD, "egress_proxy", "egress_required", "egress_no_proxy"])


def test_an_empty_section_reports_every_problem_at_once_with_the_environment_variables():
    with pytest.raises(OptionsError) as caught:
        options.read(lambda name: None)
    assert len(caught.value.problems) == 3
    for name in ("AIRFLOW__AUTHZ__ISSUER", "AIRFLOW__AUTHZ__AUDIENCE", "AIRFLOW__AUTHZ__JWKS_URL"):
        assert name in str(caught.value)


def test_both_sources_of_keys_are_one_too_many():
    assert "both set" in problems(jwks_file="/etc/keys.json")[0]


def test_a_relative_key_file_is_refused():
    assert "absolute" in problems(jwks_url="", jwks_file="keys.json")[0]


@pytest.mark.parametrize(
    "url",
    [
        "https://gate.test/jwks.json",
        "http://localhost/jwks.json",
        "http://localhost:9901/jwks.json",
        "http://127.0.0.1/j",
        "http://[::1]/j",
        "http://[::1]:9901/j",
    ],
)
def test_urls_that_are_fine(url):
    assert read(jwks_url=url).jwks_url == url


@pytest.mark.parametrize(
    "url", ["http://gate.test/j", "http://10.0.0.1:80/j", "http://[fd00::1]/j", "http://localhost.evil.test/j"]
)
def test_plain_http_to_others_needs_the_insecure_option(url):
    assert "must be https" in problems(jwks_url=url)[0]
    assert read(jwks_url=url, jwks_insecure_http="True").jwks_url == url


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/j", "file:///etc/passwd", "https:", "https://", "gate.test/j", "j"])
def test_what_is_no_web_address_is_refused_whatever_is_allowed(url):
    assert problems(jwks_url=url, jwks_insecure_http="true")


@pytest.mark.parametrize("text", ["-1", "61", "1.5", "five", "٣", "99999999999"])
def test_a_clock_skew_that_is_no_small_number(text):
    assert "clock_skew" in problems(clock_skew=text)[0]


def test_a_flag_that_is_neither_true_nor_false():
    assert "`true` or `false`" in problems(jwks_insecure_http="maybe")[0]


def test_a_misspelt_option_is_an_error_that_suggests_the_nearest():
    with pytest.raises(OptionsError) as caught:
        options.read(GOOD.get, [*GOOD, "clock_skwe", "password"])
    assert caught.value.problems == (
        "`clock_skwe` (AIRFLOW__AUTHZ__CLOCK_SKWE) is not an option: did you mean `clock_skew`?",
        "`password` (AIRFLOW__AUTHZ__PASSWORD) is not an option",
    )


@pytest.mark.parametrize("link", ["//evil.test", "/\\evil", "http://gate.test", "javascript:alert(1)", "/a b", "/a\nb"])
def test_links_that_could_lead_elsewhere_are_refused(link):
    assert "login_url" in problems(login_url=link)[0]
    assert "logout_url" in problems(logout_url=link)[0]


def test_the_pages_name_who_runs_airflow():
    found = read(organisation="Data Platform", contact="data@example.com")
    assert "mailto:data@example.com" in REFUSED.html(branding=found.branding)
    assert "Data Platform" in REFUSED.html(branding=found.branding)
    assert 'href="https://wiki.test/x?a=1"' in REFUSED.html(branding=read(contact="https://wiki.test/x?a=1").branding)


@pytest.mark.parametrize("contact", ["javascript:x", "http://wiki.test", "https://a b", "https://", "x" * 201])
def test_a_contact_is_a_mail_address_or_an_https_url(contact):
    assert problems(contact=contact) == ("`contact` (AIRFLOW__AUTHZ__CONTACT) must be a mail address or an https URL",)


def test_an_organisation_is_one_line():
    assert "one line" in problems(organisation="a\nb")[0]
