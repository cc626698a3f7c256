"""The section `run_identity`: whole or not at all, and nothing that is safe only by luck."""

import pytest

from authz import settings
from authz.core.errors import ConfigError

WHOLE = {"airflow": "http://127.0.0.1:8080", "issuer": "https://airflow.test", "jwks_file": "airflow-jwks.json"}


def load(tmp_path, section, *, assertion=True):
    keys = "assertion: {issuer: 'https://gate.test', keys: [assertion.pem]}\n" if assertion else ""
    pairs = ", ".join(
        f"{name}: {str(value).lower() if isinstance(value, bool) else repr(value)}" for name, value in section.items()
    )
    path = tmp_path / "authz.yaml"
    path.write_text(f"version: 1\n{keys}run_identity: {{{pairs}}}\n")
    return settings.load(path).run_identity


def problem(tmp_path, section, **options):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, section, **options)
    (found,) = caught.value.problems
    return found.message


def test_without_the_section_there_are_no_runs(tmp_path):
    (tmp_path / "authz.yaml").write_text("version: 1\n")
    assert settings.load(tmp_path / "authz.yaml").run_identity is None


def test_the_defaults_are_the_safe_choice(tmp_path):
    made = load(tmp_path, {})
    assert not made.issues
    assert not made.signing_key_isolated
    assert not made.insecure_http
    assert (made.lifetime, made.proxy_lifetime, made.recheck) == (120, 300, 15)


def test_paths_are_relative_to_the_file_and_the_address_has_no_slash_at_its_end(tmp_path):
    made = load(
        tmp_path, WHOLE | {"airflow": "http://localhost:8080/", "airflow_token_file": "token", "airflow_ca": "ca.pem"}
    )
    assert made.issues
    assert made.airflow == "http://localhost:8080"
    assert made.jwks_file == f"{tmp_path}/airflow-jwks.json"
    assert made.airflow_token_file == f"{tmp_path}/token"
    assert made.airflow_ca == f"{tmp_path}/ca.pem"


@pytest.mark.parametrize("missing", WHOLE)
def test_all_that_tokens_are_issued_by_is_there_or_nothing(tmp_path, missing):
    section = {name: value for name, value in WHOLE.items() if name != missing}
    assert problem(tmp_path, section).startswith("to issue tokens to tasks, `")


def test_keys_come_from_one_place(tmp_path):
    text = problem(tmp_path, WHOLE | {"jwks_uri": "https://airflow.test/jwks"})
    assert text == "the task tokens' keys come from `jwks_uri` or `jwks_file`, not from both"


def test_tokens_are_signed_with_the_keys_of_the_assertions(tmp_path):
    assert "needs `assertion`" in problem(tmp_path, {}, assertion=False)


@pytest.mark.parametrize(
    "url",
    [
        *("airflow.test", "ftp://airflow.test", "https://user@airflow.test", "https://airflow.test/?a=b", "https://"),
        *("https://airflow.test:99999", "https://airflow.test/../x#y", "https://Airflow.test/%2e"),
    ],
)
def test_an_address_that_is_none_is_refused(tmp_path, url):
    assert "write Airflow's address as" in problem(tmp_path, WHOLE | {"airflow": url})


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080", "https://airflow.test/base"]
)
def test_this_machine_and_https_need_no_permission(tmp_path, url):
    assert load(tmp_path, WHOLE | {"airflow": url}).airflow == url


@pytest.mark.parametrize("name", ["airflow", "jwks_uri"])
def test_plain_http_beyond_this_machine_must_be_said(tmp_path, name):
    section = {key: value for key, value in WHOLE.items() if key != "jwks_file"}
    section = section | {"jwks_uri": "https://airflow.test/jwks"} | {name: "http://airflow.test:8080/jwks"}
    assert f"`{name}` is plain http beyond this machine" in problem(tmp_path, section)
    path = tmp_path / "authz.yaml"
    path.write_text(path.read_text().replace("airflow:", "insecure_http: true, airflow:", 1))
    assert settings.load(path).run_identity.issues


def test_a_slow_answer_is_not_too_old_when_it_comes(tmp_path):
    assert "twice `timeout`" in problem(tmp_path, WHOLE | {"recheck": "2s"})
    assert load(tmp_path, WHOLE | {"recheck": "2s", "timeout": "1s"}).recheck == 2


def test_the_report_has_the_highest_level_and_why_it_is_capped(tmp_path):
    assert load(tmp_path, {}).report["level"] == "asserted"
    assert "no `airflow`" in load(tmp_path, {"signing_key_isolated": True}).report["why"]
    capped = load(tmp_path, WHOLE).report
    assert (capped["level"], "signing_key_isolated" in capped["why"]) == ("asserted", True)
    assert load(tmp_path, WHOLE | {"signing_key_isolated": True}).report == {"level": "verified"}


def test_a_symmetric_algorithm_is_no_choice(tmp_path):
    text = problem(tmp_path, WHOLE | {"algorithms": ["HS512"]})
    assert text.startswith("expected `EdDSA`")
