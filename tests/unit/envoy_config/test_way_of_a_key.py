"""The list in the room's docstring, from each key of the settings to what Envoy reads, is what the code does."""

import re
import sys

import yaml

from authz import envoy_config
from authz.envoy_config.provider import Provider, complete
from authz.envoy_config.render import render, render_sds
from authz.settings import Settings
from tests.support import envoy_settings
from tests.support.rendered_envoy import destination, egress, listener, plan
from tests.support.schema_leaves import leaves
from tests.unit.settings.test_login import login

ROWS = re.findall(r"^    (\S.*?) {2,}([\w.]+\.\w+) {2,}\S", envoy_config.__doc__, re.MULTILINE)
CALLS = list(dict.fromkeys(function for _keys, function in ROWS))
KEYS = {f"envoy{key}" if key.startswith(".") else key for keys, _function in ROWS for key in keys.split(", ")}


def everything():
    """Settings with each feature that has a row."""
    asked = {**login(split_cookies=True), "issuer": "https://idp.test"}
    del asked["authorization_endpoint"], asked["token_endpoint"]
    return plan(
        gate={
            "tls": {"certificate": "/gate.pem", "key": "/gate.key"},
            "tracing": {"endpoint": "127.0.0.1:4317"},
            "revocation": {"file": "/r", "backchannel": "127.0.0.1:9999", "clients": ["gate"]},
        },
        sds="/run/sds",
        inbound=listener(tls={"certificate": "/c", "key": "/k"}, login=asked),
        egress=egress(
            destination(listen="127.0.0.1:9101", tls=True, credential={"secret_file": "/s"}),
            destination(name="tunnelled", hosts=["tunnelled.test"], tunnel=True),
            dynamic={"ports": [443]},
        ),
        execution={"listen": "127.0.0.1:8092", "address": "airflow.test:8080"},
    )


def provider(_issuer, _ca):
    return Provider(authorization_endpoint="https://idp.test/a", token_endpoint="https://idp.test/t")


def test_the_list_names_the_calls_in_their_order():
    made = everything()
    seen = {}

    def note(frame, event, _argument):
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("authz.envoy_config."):
            seen[f"{module.removeprefix('authz.envoy_config.')}.{frame.f_code.co_name}"] = None

    sys.setprofile(note)
    try:
        made = complete(made, "authz.yaml", provider)
        render(made)
        render_sds(made)
    finally:
        sys.setprofile(None)
    assert len(CALLS) > 20
    assert [name for name in seen if name in CALLS] == CALLS


def test_the_list_has_every_key_of_envoy_and_no_other_word():
    document = yaml.safe_load(envoy_settings.text({}))
    names = [name for name, _place, _kind in leaves(Settings.model_json_schema(), document)]

    def is_below(name, key):
        return re.match(rf"{re.escape(key)}(?![a-z_])", name)

    assert [key for key in KEYS if not any(is_below(name, key) for name in names)] == []
    ours = [name for name in names if name.startswith("envoy.")]
    assert len(ours) > 50
    assert [name for name in ours if not any(is_below(name, key) for key in KEYS)] == []
