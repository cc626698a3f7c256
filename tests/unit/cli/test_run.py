"""What a serving process has in memory before it has done anything, and what it does not."""

import subprocess
import sys


def modules_after(code):
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(shown.stdout.split())


def test_a_serving_process_imports_no_http_client_and_nothing_of_other_commands():
    loaded = modules_after("import authz.cli.run, authz.settings, authz.serve.app, authz.engine.cq")
    unwanted = {"httpcore", "h2", "certifi", "httpx", "envoy_data_plane", "betterproto2", "airflow"}
    assert loaded & unwanted == set()
    assert {"authz.check.service", "authz.engine.cq", "grpc"} <= loaded
    # Of `envoy_config` the settings need what checks them: data without Envoy's types (`envoy_data_plane`, above).
    ours = {"demo", "authz.envoy_config.render", "authz.core.lint.review", "authz.fetching.download"}
    assert loaded & ours == set()


def test_a_command_imports_no_other_one():
    code = """
import contextlib, sys
from authz.cli import main
with contextlib.suppress(SystemExit):
    main(["diff", "--help"], standalone_mode=True)
"""
    loaded = {name for name in modules_after(code) if name.startswith("authz.cli.")}
    assert "authz.cli.diff" in loaded
    assert (
        loaded & {f"authz.cli.{name}" for name in ("access", "ask", "doctor", "files", "init", "never", "run")} == set()
    )


def test_keys_in_a_file_need_no_http_client(tmp_path):
    (tmp_path / "jwks.json").write_text("{}")
    code = f"""
from authz.keys import KeyFetcher
from authz.core.model import Issuer
issuer = Issuer(name="a", issuer="a", audiences={{}}, algorithms=frozenset(), jwks_file={str(tmp_path / "jwks.json")!r})
assert KeyFetcher().fetch(issuer).data == b"{{}}"
"""
    assert "httpcore" not in modules_after(code)
