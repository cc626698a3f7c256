"""Every key of the settings does something: changing it changes what Envoy or another front is given, or what
`authz serve` is made of.

The keys come from the JSON Schema, so that a new one is looked at without being named here. What is served is compared
by the objects that the command `serve` builds from the file; the settings themselves are not looked into, because a
value that stands only there has reached nobody.
"""

import json
import logging
import os
import shutil
import threading
from functools import cache
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from authz import settings
from authz.cli import main
from authz.core.errors import ConfigError
from authz.engine import choose
from authz.envoy_config.bootstrap import bootstrap
from authz.envoy_config.provider import Provider, complete
from authz.envoy_config.secrets import sds_files
from authz.fronts.render import FRONTS, OVER_FASTCGI, render
from authz.keys import SystemClock
from authz.serve.app import App
from authz.serve.log_writer import LogWriter
from authz.serve.supervisor.run import Supervisor
from authz.settings import endpoints
from authz.settings.certificates import Certificates
from tests.support.object_graph import facts
from tests.support.rigs.service import POLICY
from tests.support.schema_leaves import changed, leaves, others, value_at

OVER_HTTP = sorted({*FRONTS} - OVER_FASTCGI - {"jetty"})  # the others refuse some of the keys

# Keys that need not change anything, each with its reason.
EXCEPTIONS = {
    "version": "there is one version of the format, and so no other value",
    "http_check.audiences[].plane": "changed alone it is refused: the other plane has other keys",
    "http_check.fastcgi[].audience": "changed alone it is refused: it is the name of one of `audiences`",
}

# Two files that between them have every section and every kind of credential.
COMPLETE = """
version: 1
workers: 1
listen: ["unix:{folder}/authz.sock"]
tls: {{certificate: gate.pem, key: gate.key, client_ca: gate-ca.pem}}
admin: {{listen: "unix:{folder}/admin.sock"}}
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
log: {{decisions: decisions.jsonl, privacy: {{drop: [user], hash: [subject], salts: salts}}}}
revocation: {{file: revocations, backchannel: "unix:{folder}/backchannel.sock", clients: [one]}}
grants: {{file: grants}}
run_identity:
  airflow: https://airflow.test
  airflow_ca: {ca}
  issuer: https://airflow.test
  jwks_uri: https://airflow.test/jwks
tracing: {{endpoint: "otel.test:4317", tls: true, tls_ca: {ca}, tls_name: otel.test, sample: 5}}
envoy:
  authz_tls_ca: gate-ca.pem
  authz_tls_certificate: envoy.pem
  authz_tls_key: envoy.key
  inbound:
    listen: 127.0.0.1:8443
    tls: {{certificate: edge.pem, key: edge.key, client_ca: clients.pem}}
    login:
      public_url: https://a.test
      authorization_endpoint: https://idp.test/authorize
      token_endpoint: https://idp.test/token
      end_session_endpoint: https://idp.test/end
      client_id: me
      client_secret_file: client.secret
      client_auth: basic
      provider_ca: idp.pem
      scopes: [openid, profile]
      parameters: ["a=b"]
    upstreams:
      - {{name: two, address: "two.test:8081", hosts: [b.test]}}
      - {{name: one, address: "airflow.test:8081", hosts: [a.test], audience: one, tls: true, tls_ca: a.pem,
         tls_name: airflow.test, health_path: /health, base_path: /airflow}}
  egress:
    destinations:
      - name: secret
        address: secret.test:443
        hosts: [secret.test]
        audience: secret
        tls: true
        tls_ca: b.pem
        tls_name: secret.test
        health_path: /health
        credential: {{header: x-key, prefix: "Key ", secret_file: b.secret}}
        listen: 127.0.0.1:9101
        path: /secret
      - name: oauth2
        address: oauth2.test:443
        hosts: [oauth2.test]
        tls: true
        credential:
          oauth2: {{token_endpoint: "https://idp.test/t", client_id: me, client_secret_file: c.secret, ca: c.pem,
                   scopes: [one], parameters: ["a=b"]}}
      - {{name: own, address: "own.test:443", hosts: [own.test]}}
    dynamic: {{ca: d.pem, resolvers: ["10.0.0.2:53"]}}
  execution: {{address: "api.test:443", tls: true, tls_ca: e.pem, tls_name: api.test}}
"""
PLAIN = """
version: 1
workers: 1
listen: ["0.0.0.0:9190"]
insecure_listen: true
admin: {{listen: "unix:{folder}/admin.sock"}}
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
run_identity:
  airflow: http://airflow.test
  airflow_token_file: airflow.token
  issuer: https://airflow.test
  jwks_file: airflow.json
  insecure_http: true
envoy:
  inbound:
    login: {{public_url: "http://127.0.0.1:8080", issuer: "https://idp.test", provider_ca: idp.pem, client_id: me,
            client_secret_file: client.secret}}
    upstreams: [{{name: one, address: "127.0.0.1:8081", audience: one}}]
  egress:
    destinations:
      - {{name: a, address: "10.0.0.1:80", hosts: [a.test], insecure_credential: true, credential: {{secret_file: d}}}}
"""
LOGGED = """
version: 1
workers: 1
listen: ["unix:{folder}/authz.sock"]
admin: {{listen: "unix:{folder}/admin.sock"}}
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
audit:
  log: audit
  keys: [audit.pem]
  spool: spool
  files: {{max_bytes: 64KiB, keep_bytes: 1024KiB, keep: 1000s}}
  quorum: 1
  witnesses:
    - {{key: witness.example/w1+a065a7f7+BEOq6Ou97blpQV0CCwEhEYAicipXd1jF+ojc2diiEWUz, url: "http://127.0.0.1:1/a"}}
    - {{key: witness.example/w2+dc9d6b3d+BBJivG1UCKPE4CWqDBXmT2kZfNs4kRvlrTRKlJd53z2m, url: "http://127.0.0.1:1/b"}}
"""


FRONTED = """
version: 1
workers: 1
listen: ["unix:{folder}/authz.sock"]
admin: {{listen: "unix:{folder}/admin.sock"}}
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
http_check:
  listen: ["unix:{folder}/http.sock"]
  fastcgi: [{{listen: "unix:{folder}/fastcgi.sock", audience: airflow}}]
  client_address: x-real-ip
  tls: {{certificate: gate.pem, key: gate.key, client_ca: fronts.pem}}
  audiences:
    - {{name: airflow, audience: airflow, base_path: /airflow}}
    - {{name: orders, plane: egress, destination: orders}}
  authzen:
    audiences: [airflow, orders]
    url: https://authz.test
    decision_clients: [{{name: portal, issuer: https://idp.test, subject: portal}}]
"""

# And fronts on the gate's own machine.
BESIDE = """
version: 1
workers: 1
listen: ["unix:{folder}/authz.sock"]
admin: {{listen: "unix:{folder}/admin.sock"}}
http_check:
  listen: ["unix:{folder}/http.sock"]
  audiences: [{{name: airflow}}, {{name: other}}]
fronts:
  - name: airflow
    listen: 127.0.0.1:8443
    tls: {{certificate: front.pem, key: front.key, client_ca: callers.pem}}
    airflow: {{address: "127.0.0.1:8080", tls: true, tls_ca: {ca}, tls_name: airflow.test}}
"""


# Descriptors and inodes: the system chooses their numbers, by what else is there just then.
NUMBERS = {"_alive", "_descriptor", "_identity", "_lock", "_signing_keys"}
# Not looked into: the settings, what ticks, and what watches every certificate but uses none.
OPAQUE = (BaseModel, threading.Thread, SystemClock, Certificates)


class Made:
    """What a settings file leads to."""

    def __init__(self, folder, built):
        self.folder = folder
        self._built = built
        self._file = folder / "authz.yaml"
        (folder / "policy.yaml").write_text(POLICY)
        (folder / "airflow.json").write_text('{"keys": []}')
        (folder / "airflow.token").write_text("token")

    def write(self, document):
        self._file.write_text(json.dumps(document))

    def for_envoy(self):
        read = settings.load(self._file)
        if read.envoy is None:
            return [render(name, read, str(self._file), self.folder) for name in OVER_HTTP if read.fronts]
        made = complete(settings.load(self._file), str(self._file), discover)
        planes = {"inbound": None, "egress": None, "execution": None}
        alone = [{**planes, one: getattr(made.edge, one)} for one in planes if getattr(made.edge, one)]
        return [bytes_of(self._for_envoy(made, made.edge.model_copy(update=plane))) for plane in alone]

    @staticmethod
    def _for_envoy(made, envoy):
        """Without what only the server reads, so that what was rendered before is found again."""
        read = {
            name: getattr(made, name)
            for name in ("listen", "workers", "tls", "limits", "pages", "revocation", "tracing")
        }
        return settings.Settings.model_construct(version=1, envoy=envoy, **read)

    def for_the_server(self):
        """Everything that `authz serve` builds before it begins to serve."""
        self._built.clear()
        ended = CliRunner().invoke(main, ["serve", "--settings", str(self._file)], catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        self._built += [*self._of_log(settings.load(self._file)), *self._over_http(settings.load(self._file))]
        found = facts(list(self._built), opaque=OPAQUE)
        for made in self._built:
            if isinstance(made, App):
                stop(made)
            elif isinstance(made, Supervisor):
                for descriptor in made._fleet._signing_keys:
                    os.close(descriptor)
            elif isinstance(made, LogWriter):
                made.begin()
                assert made.run(lambda: True, 0) == 0
                for folder in (made._folder, made._spool):  # a log of other settings cannot be continued
                    shutil.rmtree(folder)
        return found

    @staticmethod
    def _of_log(made):
        """The processes that the supervisor starts where the log is signed: they read the settings themselves."""
        return [LogWriter(made, SystemClock(), lambda _text: None), App(made, worker=1)] if made.audit.log else []

    @staticmethod
    def _over_http(made):
        """The worker that the supervisor starts for checks over HTTP."""
        section = made.http_check
        if section is None:
            return []
        listen = endpoints.of_worker(section.listen, 0, section.workers, endpoints.HTTP)
        return [App(made.model_copy(update={"listen": listen}), worker=1, over_http=True)]


@cache
def bytes_of(made):
    """What Envoy reads; the same settings give the same bytes always, and most changes are about one plane."""
    return bytes(bootstrap(made)), [(path, bytes(found)) for path, found in sds_files(made).items()]


def stop(app):
    """Give back what an app took that never ran."""
    app.admin.stop()
    app.sink.close()
    if app.backchannel is not None:
        app.backchannel.stop()
    if app.runs is not None:
        app.runs.close()


def discover(issuer, ca):
    """A provider whose endpoints tell who was asked, and how."""
    base = f"{issuer}/{Path(ca).name}"
    return Provider(authorization_endpoint=f"{base}/a", token_endpoint=f"{base}/t", end_session_endpoint=f"{base}/e")


class World:
    """One complete file: what it leads to. What differs between two times although nothing was changed is left out."""

    def __init__(self, text, made):
        self.made = made
        self.document = yaml.safe_load(text.format(folder=made.folder, ca=CA))
        made.write(self.document)
        self.envoy = made.for_envoy()
        first, second = made.for_the_server(), made.for_the_server()
        self._noise = {place for place in first.keys() | second.keys() if first.get(place) != second.get(place)}
        self._server = self._still(first)

    def _still(self, found):
        return {
            place: value
            for place, value in found.items()
            if place not in self._noise and NUMBERS.isdisjoint(place.split("."))
        }

    def is_served_as_before(self):
        return not self.differences()

    def differences(self):
        """What is served otherwise than before, by its place: now, and before."""
        now, before = self._still(self.made.for_the_server()), self._server
        return {at: (now.get(at), before.get(at)) for at in now.keys() | before.keys() if now.get(at) != before.get(at)}

    def effect(self, place, kind, now):
        """What a change of this leaf changes here: "" where nothing does."""
        for other in others(kind, now):
            document = changed(self.document, place, other)
            self.made.write(document)
            try:
                envoy = self.made.for_envoy()
            except ConfigError:
                if kind.get("type") == "boolean" and value_at(self.document, place[:-1]) is not None:
                    return "permitted"  # what this file says is refused without it
                continue
            if envoy != self.envoy:
                return "rendered"
            if not self.is_served_as_before():
                return "served"
        return ""


CA = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    built = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "why_not_cq", lambda: "")  # it would serve for real, each time
        patch.setattr(App, "run", lambda app, _started: built.append(app) or 0)
        patch.setattr(Supervisor, "run", lambda supervisor: built.append(supervisor) or 0)
        patch.setattr(logging, "basicConfig", lambda **named: built.append(named))
        yield [
            World(text, Made(tmp_path_factory.mktemp("settings"), built))
            for text in (COMPLETE, PLAIN, LOGGED, FRONTED, BESIDE)
        ]


LEAVES = list(leaves(settings.Settings.model_json_schema(), yaml.safe_load(COMPLETE.format(folder="/run", ca=CA))))


def section(name):
    """The part of the file that a leaf belongs to; that of Envoy is large."""
    return ".".join(name.replace("[]", "").split(".")[: 2 if name.startswith("envoy.") else 1])


def test_unchanged_settings_are_rendered_and_served_as_before(worlds):
    for world in worlds:
        world.made.write(world.document)
        assert world.differences() == {}
        assert world.made.for_envoy() == world.envoy


@pytest.mark.full
@pytest.mark.timeout(300)  # some 25 s by itself; every change of a plane is rendered
@pytest.mark.parametrize("part", sorted({section(name) for name, _place, _kind in LEAVES}))
def test_every_leaf_changes_what_is_rendered_or_served(worlds, part):
    found = {}
    for world in worlds:
        for name, place, kind in leaves(settings.Settings.model_json_schema(), world.document):
            if section(name) == part and not found.get(name):
                found[name] = world.effect(place, kind, value_at(world.document, place))
    silent = {name for name, effect in found.items() if not effect}
    assert silent == {name for name in EXCEPTIONS if section(name) == part}


def test_the_whole_schema_is_looked_at_and_exceptions_are_few():
    names = {name for name, _place, _kind in LEAVES}
    assert len(names) > 130
    assert set(EXCEPTIONS) <= names
    assert len(EXCEPTIONS) <= 10
