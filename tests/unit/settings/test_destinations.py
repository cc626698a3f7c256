import pytest

from authz import settings
from authz.core.errors import ConfigError

HEAD = """version: 1
envoy:
  egress:
    destinations:
      - name: orders
        hosts: [orders.test]
"""
HERE = "address: 127.0.0.1:80"
SECRET = "credential: {secret_file: s}"


def load(tmp_path, *lines):
    path = tmp_path / "authz.yaml"
    path.write_text(HEAD + "".join(f"        {line}\n" for line in lines))
    return settings.load(path).envoy.egress.destinations[0]


def problems(tmp_path, *lines):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, *lines)
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in caught.value.problems]


def test_the_files_of_secrets_are_relative_to_the_settings(tmp_path):
    made = load(tmp_path, "address: orders.test:443", "tls: true", SECRET)
    assert made.credential.secret_file == f"{tmp_path}/s"
    oauth2 = "{token_endpoint: https://idp.test/token, client_id: gate, client_secret_file: c, ca: ca.pem}"
    made = load(tmp_path, HERE, f"credential: {{oauth2: {oauth2}}}").credential.oauth2
    assert (made.client_secret_file, made.ca) == (f"{tmp_path}/c", f"{tmp_path}/ca.pem")


@pytest.mark.parametrize(
    ("lines", "place", "words"),
    [
        (["address: orders.test:80", SECRET], "8:21", "cross the network in the clear"),
        (["address: 10.0.0.1:80", SECRET], "8:21", "cross the network in the clear"),
        ([HERE, "keep_authorization: true", SECRET], "8:29", "exclude each other"),
        ([HERE, "tunnel: true", SECRET], "8:17", "nothing can be added inside"),
        ([HERE, "credential: {}"], "8:21", "either a `secret_file` or `oauth2`"),
        (
            [
                *(HERE, "credential:", "  prefix: x", "  oauth2:"),
                *("    token_endpoint: https://idp.test/t", "    client_id: a", "    client_secret_file: b"),
            ],
            "9:19",
            "leave `header` and `prefix` out",
        ),
        ([HERE, "credential:", "  secret_file: s", "  header: host"], "10:19", "carries no credential"),
        (
            [
                *(HERE, "credential:", "  oauth2:", "    client_id: a", "    client_secret_file: b"),
                "    token_endpoint: http://idp.test/t",
            ],
            "12:29",
            "http is for this machine only",
        ),
        ([HERE, "limits: {conections: 1}"], "8:18", "conections"),
        ([HERE, "limits: {connections: 0}"], "8:31", "1"),
        ([HERE, "limits: {retries: 6}"], "8:27", "5"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path, lines, place, words):
    (told,) = problems(tmp_path, *lines)
    assert told.startswith(f"{place} "), told
    assert words in told


@pytest.mark.parametrize(
    "lines",
    [
        *(["address: orders.test:80", "insecure_credential: true"], ["address: orders.test:80", "tls: true"]),
        *([HERE], ["address: localhost:80"], ['address: "[::1]:80"'], ["address: unix:/run/orders.sock"]),
    ],
)
def test_a_credential_may_go_over_tls_or_to_this_machine_or_with_insecure_credential(tmp_path, lines):
    assert load(tmp_path, *lines, SECRET).credential


def test_a_prefix_that_is_none_is_not_repeated(tmp_path):
    (told,) = problems(tmp_path, HERE, 'credential: {prefix: "s3cret\\n", secret_file: s}')
    assert "s3cret" not in told
