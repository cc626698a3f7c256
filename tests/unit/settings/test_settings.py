import json
from itertools import combinations

import pytest

from authz import settings
from authz.core import policy as policies
from authz.core.errors import ConfigError, PolicyError
from authz.envoy_config.render import render
from authz.settings import cpus
from authz.settings.sections import Section
from tests.support.factories.audit_logs import LOG, WITNESSES, Key

MINIMAL = "version: 1\n"


def load(tmp_path, text):
    path = tmp_path / "authz.yaml"
    path.write_text(text)
    return settings.load(path)


def problems(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    return [f"{problem.line}:{problem.column} {problem.message}" for problem in caught.value.problems]


def test_the_defaults_are_the_safe_choice(tmp_path):
    made = load(tmp_path, MINIMAL)
    assert made.listen == ("127.0.0.1:9190",)
    assert made.admin.listen == "127.0.0.1:9180"
    assert made.audit.on_failure == "deny"
    assert made.policy == str(tmp_path / "policy.yaml")
    assert made.tls is None
    assert made.limits.token_bytes == 98304


def test_paths_are_relative_to_the_file(tmp_path):
    made = load(
        tmp_path,
        """
version: 1
policy: sub/policy.yaml
tls: {certificate: a.pem, key: /abs/b.pem}
assertion: {issuer: https://gate.test, keys: [one.pem, two.pem]}
log: {decisions: decisions.jsonl}
envoy:
  inbound:
    tls: {certificate: c.pem, key: d.pem}
    upstreams: [{name: airflow, address: "127.0.0.1:8081", audience: airflow, tls: true, tls_ca: ca.pem}]
""",
    )
    assert made.policy == f"{tmp_path}/sub/policy.yaml"
    assert made.tls.certificate == f"{tmp_path}/a.pem"
    assert made.tls.key == "/abs/b.pem"
    assert made.assertion.keys == (f"{tmp_path}/one.pem", f"{tmp_path}/two.pem")
    assert made.log.decisions == f"{tmp_path}/decisions.jsonl"
    assert made.envoy.inbound.upstreams[0].tls_ca == f"{tmp_path}/ca.pem"


def test_every_problem_is_told_at_once_with_its_place(tmp_path):
    text = """version: 1
engin: aio
listen: [nowhere]
limits: {token_bytes: 16, wait: 2}
keys:
  refresh: 5 minutes
audit: {on_failure: alow}
"""
    assert problems(tmp_path, text) == [
        "2:1 unknown key `engin`",
        "3:10 write an address as host:port or unix:/absolute/path",
        "4:23 write a size as a whole number and a unit: 512B, 16KiB, 1MiB or 2GiB",
        "4:33 write a duration as a number and a unit: 500ms, 90s, 15m, 1h or 7d",
        "6:12 write a duration as a number and a unit: 500ms, 90s, 15m, 1h or 7d",
        "7:21 expected `deny` or `allow`, found `alow`",
    ]


@pytest.mark.parametrize("port", ["\u0668\u0660", "65536", "9" * 5000, "+80", ""])
def test_a_port_has_ascii_digits_and_an_end(tmp_path, port):
    text = f'version: 1\nlisten: ["127.0.0.1:{port}"]\n'
    assert problems(tmp_path, text) == ["2:10 write an address as host:port or unix:/absolute/path"]


def test_a_check_has_room_for_the_largest_token_and_what_comes_with_it(tmp_path):
    assert problems(tmp_path, "version: 1\nlimits: {token_bytes: 200KiB}\n") == [
        "2:23 `message_bytes` must be at least 64 KiB more than `token_bytes`"
    ]
    assert load(tmp_path, "version: 1\nlimits: {token_bytes: 192KiB}\n").limits.token_bytes == 192 * 1024


@pytest.mark.parametrize("address", ["0.0.0.0:9190", "10.0.0.5:9190", "[::]:9190", "gate.internal:9190"])
def test_plaintext_beyond_loopback_needs_to_be_said(tmp_path, address):
    text = f'version: 1\nlisten: ["{address}"]\n'
    assert "reachable from other machines without TLS" in problems(tmp_path, text)[0]
    assert load(tmp_path, text + "insecure_listen: true\n").listen == (address,)
    assert load(tmp_path, text + "tls: {certificate: a, key: b}\n").listen == (address,)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/run/a.sock"])
def test_loopback_and_unix_sockets_need_no_tls(tmp_path, address):
    assert load(tmp_path, f'version: 1\nlisten: ["{address}"]\n').listen == (address,)


@pytest.mark.parametrize("address", ["unix:relative", "host", "host:", ":1", "host:99999", "host:-1", "host:http"])
def test_what_is_no_address_is_refused(tmp_path, address):
    assert "write a" in problems(tmp_path, f'version: 1\nlisten: ["{address}"]\n')[0]


def test_an_assertion_lives_a_minute_at_most(tmp_path):
    text = "version: 1\nassertion: {issuer: x, keys: [k.pem], lifetime: 5m}\n"
    assert "less than or equal to 60" in problems(tmp_path, text)[0]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        settings.load(tmp_path / "none.yaml")


def test_a_login_names_where_people_log_in(tmp_path):
    text = """version: 1
envoy:
  inbound:
    upstreams: [{name: airflow, address: "127.0.0.1:8081"}]
    login:
      client_id: x
      client_secret_file: y
      client_auth: none
      pubic_url: https://z.test
"""
    assert problems(tmp_path, text) == [
        "6:7 `public_url` is missing",
        "8:20 expected `post` or `basic`, found `none`",
        "9:7 unknown key `pubic_url`",
    ]
    text = text.replace("client_auth: none", "token_endpoint: https://idp.test/t").replace("pubic", "public")
    assert problems(tmp_path, text) == ["6:7 name the `issuer`, or both `authorization_endpoint` and `token_endpoint`"]
    made = load(tmp_path, text.replace("token_endpoint: https://idp.test/t", "issuer: https://idp.test"))
    assert made.envoy.inbound.login.client_secret_file == f"{tmp_path}/y"
    assert made.envoy.sds == f"{tmp_path}/sds"


def test_the_mistakes_of_a_login_have_their_places(tmp_path):
    text = """version: 1
envoy:
  inbound:
    upstreams: [{name: airflow, address: "127.0.0.1:8081"}]
    login:
      public_url: https://airflow.test/airflow
      issuer: http://idp.test
      end_session_endpoint: https://idp.test/logout?a=b
      client_id: ""
      client_secret_file: y
      scopes: [openid, a b]
      parameters: [audience]
      callback_path: oauth2
"""
    found = problems(tmp_path, text)
    assert [problem.partition(" ")[0] for problem in found] == [
        *("6:19", "7:15", "8:29", "9:18", "11:24", "12:20", "13:22")
    ]
    assert "http is for this machine only" in found[1]
    assert "one word" in found[4]


def test_every_setting_is_described():
    def undescribed(model, prefix=""):
        for name, field in model.model_fields.items():
            if not field.description:
                yield prefix + name

    sections = Section.__subclasses__()
    assert len(sections) > 14
    assert [name for section in sections for name in undescribed(section, f"{section.__name__}.")] == []


@pytest.mark.parametrize(("text", "expected"), [("", "auto"), ("workers: auto", "auto"), ("workers: 3", 3)])
def test_the_number_of_workers(tmp_path, text, expected):
    made = load(tmp_path, f"{MINIMAL}{text}\n")
    assert made.workers == expected
    assert made.worker_count == (cpus.usable() if expected == "auto" else expected)


@pytest.mark.parametrize("value", ["0", "-1", "257", "many", "1.5", "true", '"2"', "[2]"])
def test_what_is_no_number_of_workers(tmp_path, value):
    assert "1:1 " not in problems(tmp_path, f"version: 1\nworkers: {value}\n")[0]
    assert problems(tmp_path, f"version: 1\nworkers: {value}\n") == [
        "2:10 write a number of processes from 1 to 256, or auto"
    ]


def test_a_number_of_the_command_line_stands_in_for_the_files(tmp_path):
    path = tmp_path / "authz.yaml"
    path.write_text("version: 1\nworkers: 3\nlisten: ['127.0.0.1:9190', '127.0.0.1:9192']\n")
    with pytest.raises(ConfigError, match=r"worker 0 would listen on 127\.0\.0\.1:9192"):
        settings.load(path)
    assert settings.load(path, workers=2).worker_count == 2


def test_addresses_that_the_workers_would_share_are_told_with_their_place(tmp_path):
    text = 'version: 1\nworkers: 2\nlisten: ["unix:/run/a.sock", "unix:/run/b.sock", "127.0.0.1:9179"]\n'
    assert problems(tmp_path, text) == [
        "3:30 worker 0 would listen on unix:/run/worker-0.sock, which belongs to listen[0] of worker 0",
        "3:50 worker 1 would listen on 127.0.0.1:9180, which belongs to admin.listen",
    ]


# --- what sections must agree on


def test_a_key_is_fetched_while_a_check_still_waits_for_it(tmp_path):
    told = problems(tmp_path, "version: 1\nkeys: {refresh: 60s, min_interval: 2s}\n")
    assert told == [
        "2:36 `keys.min_interval` must be less than `limits.wait`: a check would give up before the key is fetched"
    ]
    assert problems(tmp_path, "version: 1\nlimits: {wait: 1s}\n")[0].startswith("2:16 `keys.min_interval` must be less")
    load(tmp_path, "version: 1\nkeys: {min_interval: 2s}\nlimits: {wait: 2001ms}\n")


MUTUAL = """version: 1
tls: {certificate: a.pem, key: a.key, client_ca: ca.pem}
envoy:
  execution: {address: "127.0.0.1:8080"}
"""


def test_a_gate_that_wants_a_certificate_and_an_envoy_without_one_do_not_go_together(tmp_path):
    (told,) = problems(tmp_path, MUTUAL)
    assert told.startswith("2:50 `tls.client_ca` demands a certificate from Envoy")
    (told,) = problems(tmp_path, MUTUAL + "  authz_tls_certificate: b.pem\n")
    assert "`authz_tls_certificate` and `authz_tls_key` belong together" in told
    made = load(tmp_path, MUTUAL + "  authz_tls_certificate: b.pem\n  authz_tls_key: b.key\n")
    assert (made.envoy.authz_tls_certificate, made.envoy.authz_tls_key) == (f"{tmp_path}/b.pem", f"{tmp_path}/b.key")
    load(tmp_path, MUTUAL.partition("envoy:")[0])


@pytest.mark.parametrize("key", ["authz_tls_ca", "authz_tls_name", "authz_tls_certificate"])
def test_settings_of_envoy_for_the_gates_tls_are_refused_without_tls(tmp_path, key):
    text = MUTUAL.replace(", client_ca: ca.pem", "") + f"  {key}: one\n"
    text += "  authz_tls_key: a.key\n" if key == "authz_tls_certificate" else ""
    load(tmp_path, text)
    told = problems(tmp_path, text.replace("tls: {certificate: a.pem, key: a.key}", "# no TLS"))
    assert f"5:{len(key) + 5} `{key}` has no effect without `tls`" in told


@pytest.mark.parametrize("key", ["tls_ca: ca.pem", "tls_name: a.test"])
@pytest.mark.parametrize(
    "place",
    [
        'inbound: {upstreams: [{name: a, address: "127.0.0.1:1", KEY}]}',
        'egress: {destinations: [{name: a, address: "127.0.0.1:1", hosts: [a.test], KEY}]}',
        'execution: {address: "127.0.0.1:1", KEY}',
    ],
)
def test_tls_ca_and_tls_name_are_refused_without_tls(tmp_path, place, key):
    text = "version: 1\nenvoy:\n  " + place.replace("KEY", key)
    (told,) = problems(tmp_path, text)
    assert told.startswith("3:")
    assert f"`{key.partition(':')[0]}` without `tls: true`: the connection would be plaintext" in told
    load(tmp_path, text.replace(key, f"tls: true, {key}"))


# --- one file for two purposes


NAMES = {
    "policy": "policy: {file}",
    "log.decisions": "log: {{decisions: {file}}}",
    "revocation.file": "revocation: {{file: {file}}}",
    "assertion.keys[0]": 'assertion: {{issuer: "https://gate.test", keys: [{file}]}}',
    "envoy.access_log": 'envoy: {{access_log: {file}, execution: {{address: "127.0.0.1:8080"}}}}',
    "the settings": "",
}
LINKS = {
    "the same path": lambda file, _link: file.name,
    "another spelling": lambda file, _link: f"../{file.parent.name}/./{file.name}",
    "a symbolic link": lambda file, link: link.symlink_to(file) or link.name,
    "a hard link": lambda file, link: link.hardlink_to(file) or link.name,
}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(("one", "other"), list(combinations(NAMES, 2)))
def test_a_file_that_two_keys_name_is_refused_with_its_place(tmp_path, one, other, link):
    settings_file = tmp_path / "authz.yaml"
    settings_file.touch()
    file = settings_file if other == "the settings" else tmp_path / "one"
    file.touch()
    names = [LINKS[link](file, tmp_path / "link"), file.name]
    lines = [NAMES[key].format(file=name) for key, name in zip((one, other), names, strict=True)]
    settings_file.write_text("version: 1\n" + "\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        settings.load(settings_file)
    (told,) = caught.value.problems
    assert told.line in {2, 3}, "the line that names it"
    assert "the same file" in told.message
    assert f"`{one}`" in told.message
    assert ("these settings" if other == "the settings" else f"`{other}`") in told.message
    assert told.hint == "give each a file of its own"


SIGNED = """
version: 1
assertion: {issuer: "https://gate.test", keys: [assertion.pem]}
audit: {log: audit, keys: [audit.pem], access_logs: [%s]}
revocation: {file: revoked}
envoy: {access_log: access.log, execution: {address: "127.0.0.1:8080"}}
"""


def test_what_envoy_writes_may_be_followed_and_what_the_gate_writes_may_not(tmp_path):
    made = load(tmp_path, SIGNED % "access.log, /var/log/other-envoy.log")
    assert made.audit.access_logs == (made.edge.access_log, "/var/log/other-envoy.log")
    assert "names the same file" in problems(tmp_path, SIGNED % "revoked")[0]
    assert "names the same file" in problems(tmp_path, SIGNED % "access.log, ./access.log")[0]
    assert "which is in that folder" in problems(tmp_path, SIGNED % "audit/decisions.jsonl")[0]
    assert "name of a file" in problems(tmp_path, SIGNED % '""')[0]


def test_access_logs_have_no_effect_without_a_signed_log(tmp_path):
    (told,) = problems(tmp_path, "version: 1\naudit: {access_logs: [access.log]}\n")
    assert "`access_logs` has no effect without `log`" in told


WITNESSED = """
version: 1
assertion: {issuer: "https://gate.test", keys: [assertion.pem]}
audit:
  log: audit
  keys: [audit.pem]
  quorum: %d
  witnesses: %s
"""


def witness(number=0, *, url="https://w.test/prefix", **changes):
    key = str(WITNESSES[number].public)
    return json.dumps({"key": key, "url": url, **changes})


def test_witnesses_have_a_key_a_url_and_a_quorum(tmp_path):
    made = load(tmp_path, WITNESSED % (2, f"[{witness(0)}, {witness(1, url='http://127.0.0.1:8000')}]"))
    assert [one.key for one in made.audit.witnesses] == [str(key.public) for key in WITNESSES[:2]]
    assert made.audit.quorum == 2


@pytest.mark.parametrize(
    ("quorum", "witnesses", "place", "words"),
    [
        (0, f"[{witness()}]", "8:14", "`witnesses` need a `quorum`"),
        (2, f"[{witness()}]", "7:11", "the quorum is 2, and there are 1 witnesses"),
        (1, "[]", "7:11", "the quorum is 1, and there are 0 witnesses"),
        (1, f"[{witness(key=str(LOG.public))}]", "8:23", "it is that of a log"),
        (1, f"[{witness(key='w+00000000+AAAA')}]", "8:23", "this is no key of a witness"),
        (1, f"[{witness(key='')}]", "8:23", "this is no key of a witness"),
        (1, f"[{witness(url='http://w.test/')}]", "8:", "http is for this machine only"),
        (1, f"[{witness(url='https://w.test/?x')}]", "8:", "has no query"),
        (1, f"[{witness(url='https://user:secret@w.test/')}]", "8:", "not an http or https URL"),
        (1, f"[{witness()}, {witness()}]", "8:", "this name of a witness is given twice"),
        (1, f"[{', '.join([witness()] * 17)}]", "8:", "at most 16"),
    ],
)
def test_what_cannot_be_witnesses(tmp_path, quorum, witnesses, place, words):
    found = problems(tmp_path, WITNESSED % (quorum, witnesses))
    assert any(words in one and one.startswith(place) for one in found), found
    assert "secret" not in "".join(found)


def test_one_public_key_under_two_names_is_one_witness(tmp_path):
    again = Key("witness.example/again", 10, WITNESSES[0].public.type)
    found = problems(tmp_path, WITNESSED % (1, f"[{witness()}, {witness(key=str(again.public))}]"))
    assert any("this public key of a witness is given twice" in one for one in found)


def test_witnesses_have_no_effect_without_a_signed_log(tmp_path):
    found = problems(tmp_path, f"version: 1\naudit: {{witnesses: [{witness()}], quorum: 1}}\n")
    assert any("`witnesses` has no effect without `log`" in one for one in found)
    assert any("`quorum` has no effect without `log`" in one for one in found)


def test_files_that_do_not_exist_yet_are_told_apart_by_their_paths(tmp_path):
    (told,) = problems(tmp_path, "version: 1\nlog: {decisions: new}\nrevocation: {file: ./new}\n")
    assert told == f"2:18 `log.decisions`: `revocation.file` names the same file, {tmp_path}/new"


def test_certificates_keys_and_devices_may_be_named_twice(tmp_path):
    text = "version: 1\ntls: {certificate: a.pem, key: a.pem}\nlog: {decisions: /dev/null}\n"
    found = load(tmp_path, text + 'envoy: {access_log: /dev/null, execution: {address: "127.0.0.1:8080"}}\n')
    assert found.tls.certificate == found.tls.key
    assert found.log.decisions == found.envoy.access_log == "/dev/null"


# --- names of destinations


@pytest.mark.parametrize("name", ["a", "orders", "orders-2", "a_b", "a" * 63, "9"])
def test_a_name_that_the_settings_take_is_one_for_the_policy_and_for_envoy(tmp_path, name):
    for place in (
        "egress: {{destinations: [{{name: {name}, address: '127.0.0.1:1', hosts: [a.test]}}]}}",
        "inbound: {{upstreams: [{{name: {name}, address: '127.0.0.1:1'}}]}}",
    ):
        assert render(load(tmp_path, f"version: 1\nenvoy: {{{place.format(name=repr(name))}}}\n"))
    assert policies.load(policies.Bundle(RULE.format(name=name).encode(), "policy.yaml")).rules["r"].destinations == (
        name,
    )


@pytest.mark.parametrize("name", ["orders-", "_orders", "Orders", "a.b", "a" * 64, "-"])
def test_a_name_that_one_of_them_refuses_is_refused_by_all_with_its_place(tmp_path, name):
    text = (
        f"version: 1\nenvoy:\n  egress: {{destinations: [{{name: '{name}', address: '127.0.0.1:1', hosts: [a.test]}}]}}"
    )
    (told,) = problems(tmp_path, text)
    assert told.startswith("3:34 ")
    with pytest.raises(PolicyError, match=r"policy\.yaml:3:"):
        policies.load(policies.Bundle(RULE.format(name=name).encode(), "policy.yaml"))


RULE = """version: 1
issuers: [{{name: a, issuer: "https://idp.test", audiences: {{egress: [e]}}, algorithms: [RS256]}}]
rules: [{{id: r, plane: egress, roles: [authenticated], destinations: ["{name}"], paths: ["/**"]}}]
"""


@pytest.mark.parametrize(
    ("line", "whose"),
    [
        ("policy: kept/policy", "`policy` names"),
        ("log: {decisions: kept/log}", "`log.decisions` names"),
        ("revocation: {file: linked/revocations}", "`revocation.file` names"),
        ("", "these settings are in"),
    ],
)
def test_nothing_else_may_be_in_the_state_folder(tmp_path, line, whose):
    (tmp_path / "kept").mkdir()
    (tmp_path / "linked").symlink_to("kept")
    state = "kept" if line else "."
    told = problems(tmp_path, f"version: 1\nstate: {state}\n{line}\n")
    assert any(one.startswith(f"2:8 `state`: {whose}") for one in told)


def test_a_state_folder_of_its_own_is_relative_to_the_settings(tmp_path):
    path = tmp_path / "authz.yaml"
    path.write_text("version: 1\nstate: kept\n")
    assert settings.load(path).state == str(tmp_path / "kept")
