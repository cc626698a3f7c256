"""Witnesses in the settings: two of them are two, whatever letters their keys have in base64."""

import base64
import json

from authz import settings
from authz.core.audit.keys import SignatureType, VerifierKey

END = base64.b64decode("AAA+")  # both keys end with `+`, and only what is before that differs
FILE = """
version: 1
gate: eu-1
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
audit: {{log: audit, keys: [audit.pem], quorum: 2, witnesses: {}}}
"""


def test_two_keys_of_witnesses_with_the_same_end_in_base64_are_two(tmp_path):
    keys = [VerifierKey(f"w{at}.test", SignatureType.COSIGNATURE, bytes([at] * 29) + END) for at in (7, 9)]
    listed = [{"key": str(key), "url": "https://w.test/"} for key in keys]
    (tmp_path / "authz.yaml").write_text(FILE.format(json.dumps(listed)))
    assert len(settings.load(tmp_path / "authz.yaml").audit.witnesses) == 2
