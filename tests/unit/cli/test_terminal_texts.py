"""Text of policies, requests and tokens on a terminal: no command lets it move the cursor, hide or look like a line."""

import base64
import json
import re

import pytest
from click.testing import CliRunner

from authz.cli import main

EVIL = "g\x1b[2K\rALLOW\n\u202eallow\x9b8m"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
WRITTEN = EVIL.encode("unicode_escape").decode().replace(r"\x9b", r"\u009b").replace("\\x1b", "\\e")
POLICY = rf"""
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {{inbound: [a], egress: [b]}}
    algorithms: [RS256]
    groups: [groups]
roles:
  r: {{groups: ["{WRITTEN}"]}}
rules:
  - {{id: a, plane: inbound, roles: [r], paths: ["/x\u202e"]}}
tests:
  - {{name: "{WRITTEN}", who: {{groups: ["{WRITTEN}"]}}, request: GET /api/v2/pools, expect: allow}}
"""


@pytest.fixture
def ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "requests.txt").write_text(f"GET /x --group '{EVIL.replace(chr(10), '').replace(chr(13), '')}'\n")
    return lambda *words: CliRunner().invoke(main, [*words], catch_exceptions=False).output


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "GET", "/api/v2/pools", "--group", EVIL),
        ("explain", "GET", "/x\u202e", "--group", EVIL, "--as", "a\x1b[2K"),
        ("check", "GET", "/api/v2/dags/x\u202e", "--group", EVIL),
        ("check", "GET", "/x", "--group", EVIL, "--issuer", "corp\x1b[2K"),
        ("check", "GET", "/x", "--plane", "egress", "--destination", "y\x1b[2K"),
        ("check", "--requests", "requests.txt"),
        ("lint",),
        ("test", "--coverage", "--verbose"),
        ("what-can", "--role", EVIL),
        ("what-can", "--issuer", EVIL),
        ("who-can", EVIL),
        ("who-can", "--destination", EVIL),
        ("matrix", "--role", EVIL),
    ],
)
def test_it_stays_text(ask, words):
    output = ask(*words)
    assert "policy.yaml:" not in output or words[0] in {"lint", "test", "explain"}, output
    assert not CONTROL.search(output), output
    assert not any(line.startswith(("ALLOW", "allow")) for line in output.splitlines())


def test_what_a_token_says_stays_text(ask, monkeypatch):
    def part(**members):
        return base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()

    claims = {"iss": "https://idp.example.com", "aud": "a", "sub": "s", "iat": 1, "exp": 2, "groups": [EVIL]}
    monkeypatch.setenv("AUTHZ_TOKEN", f"{part(alg='RS256', kid='k', typ='JWT')}.{part(**claims)}.{'A' * 344}")
    output = ask("token", "inspect", "--offline")
    assert r"groups   g\x1b[2K" in output
    assert not CONTROL.search(output)
