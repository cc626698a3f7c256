"""Which keys name files is a part of their type; this holds every key that looks like one against that."""

import typing

from pydantic import BaseModel

from authz import settings
from authz.settings import named_files

FULL = """
version: 1
policy: p.yaml
tls: {certificate: a.pem, key: a.key}
assertion: {issuer: "https://gate.test", keys: [one.pem, /abs/two.pem]}
revocation: {file: r.txt}
envoy:
  egress:
    destinations:
      - {name: a, address: "127.0.0.1:1", hosts: [a.test]}
      - name: b
        address: 127.0.0.1:2
        hosts: [b.test]
        credential: {oauth2: {token_endpoint: "https://idp.test/t", client_id: me, client_secret_file: b.secret}}
"""
WORDS = ("file", "certificate", "certificate's", "PEM", "folder")  # in the description of a key that names a file
BUT = {"authz_tls_name", "tls_name", "admin", "path", "tls", "log", "envoy", "max_bytes", "keep"}


def models(model=settings.Settings):
    """Every section that the settings can have."""
    yield model
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from models(part)


def parts(annotation):
    yield annotation
    for part in typing.get_args(annotation):
        yield from parts(part)


def test_every_file_is_found_with_its_key(tmp_path):
    path = tmp_path / "authz.yaml"
    path.write_text(FULL)
    found = {one.key: one.path for one in named_files.named(settings.load(path))}
    assert found == {
        "policy": f"{tmp_path}/p.yaml",
        "tls.certificate": f"{tmp_path}/a.pem",
        "tls.key": f"{tmp_path}/a.key",
        "assertion.keys[0]": f"{tmp_path}/one.pem",
        "assertion.keys[1]": "/abs/two.pem",
        "revocation.file": f"{tmp_path}/r.txt",
        "envoy.egress.destinations[1].credential.oauth2.client_secret_file": f"{tmp_path}/b.secret",
        "envoy.sds": f"{tmp_path}/sds",
    }


def test_no_key_that_is_described_as_a_file_lacks_the_mark():
    unmarked = {
        name
        for model in models()
        for name, field in model.model_fields.items()
        if set(field.description.replace(",", " ").replace(";", " ").replace(":", " ").split()) & set(WORDS)
        and named_files._mark((*field.metadata, field.annotation)) is None
        and not any(isinstance(part, type) and issubclass(part, BaseModel) for part in parts(field.annotation))
    }
    assert unmarked - BUT == set()


def test_a_word_that_is_no_file_stays_what_it_is(tmp_path):
    path = tmp_path / "authz.yaml"
    path.write_text("version: 1\nlog: {decisions: stdout}\n")
    made = settings.load(path)
    assert made.log.decisions == "stdout"
    assert [one.key for one in named_files.named(made)] == ["policy"]
