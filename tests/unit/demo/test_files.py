"""The files of the demo: what it writes is right, and it empties only what is its own."""

import stat
from dataclasses import replace

import pytest

from authz import settings
from authz.core import cases, policy
from authz.fronts.render import FRONTS, render
from demo import files
from demo.files import EXTRA_RULES, MARKER, DirectoryError, Layout, Ports, claim

PORTS = Ports(gate=1, egress=2, envoy_admin=3, authz=4, authz_admin=5, airflow=6, idp=7, orders=8, execution=9)


def test_ports_are_free_and_differ():
    ports = Ports.free()
    values = [getattr(ports, name) for name in Ports.__dataclass_fields__]
    assert len(set(values)) == len(values) == 12


def test_settings_and_policy_load(tmp_path):
    layout = Layout(directory=tmp_path, ports=PORTS)
    layout.write()
    loaded = settings.load(layout.settings)
    assert loaded.envoy.inbound.upstreams[0].audience == "airflow"
    assert loaded.envoy.inbound.login.public_url == layout.browse == "http://localhost:1"
    assert layout.client_secret.read_text() == "airflow-gate-secret"
    secrets = (layout.client_secret, layout.orders_credential, layout.task_key)
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    text = layout.policy.read_bytes()
    suite = cases.load(policy.Bundle(text, "policy.yaml"))
    assert "http://127.0.0.1:7" in suite.policy.issuers
    assert len(suite.cases) > 20, "it shows tests, and they pass"
    extended = cases.load(policy.Bundle(text + EXTRA_RULES.encode(), "policy.yaml"))
    assert extended.policy.revision != suite.policy.revision


def test_a_secret_is_found_wherever_it_is_but_in_its_own_file(tmp_path):
    layout = Layout(directory=tmp_path, ports=PORTS)
    layout.write()
    secret = layout.orders_credential.read_bytes()
    assert list(layout.files_with(secret)) == []
    (tmp_path / "airflow" / "task.log").write_bytes(b"sent " + secret)
    assert list(layout.files_with(secret)) == [tmp_path / "airflow" / "task.log"]


def test_saving_the_policy_replaces_it_at_once(tmp_path):
    layout = Layout(directory=tmp_path, ports=PORTS)
    layout.write()
    names = {path.name for path in tmp_path.iterdir()}
    before = layout.policy.stat().st_ino
    layout.save_policy("version: 1\n")
    assert layout.policy.read_text() == "version: 1\n"
    assert layout.policy.stat().st_ino != before
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_new_or_empty_directory_becomes_ours_and_is_emptied_next_time(tmp_path):
    directory = tmp_path / "deep" / "demo"
    claim(directory).close()
    (directory / "airflow").mkdir()
    (directory / "airflow" / "airflow.db").touch()
    (directory / "old").symlink_to(tmp_path)
    claim(directory).close()
    assert {path.name for path in directory.iterdir()} == {MARKER, files.LOCK}
    assert tmp_path.is_dir()


def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DirectoryError, match="not empty"):
        claim(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_demos_do_not_share_a_directory(tmp_path):
    with claim(tmp_path), pytest.raises(DirectoryError, match="already running"):
        claim(tmp_path)
    claim(tmp_path).close()


def test_the_settings_with_another_front_render_it_beside_envoy(tmp_path):
    layout = Layout(directory=tmp_path, ports=replace(PORTS, front=10, http_check=11, fastcgi=12), front="lighttpd")
    layout.write()
    loaded = settings.load(layout.settings)
    assert loaded.envoy is not None
    assert layout.for_programs == f"https://{loaded.fronts[0].listen}"
    for name in FRONTS:
        assert render(name, loaded, "authz.yaml", layout.front_folder)
    assert stat.S_IMODE(layout.certificate.with_suffix(".key").stat().st_mode) == 0o600
