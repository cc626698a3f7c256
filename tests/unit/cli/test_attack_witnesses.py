"""Mistakes with keys and URLs of witnesses."""

import json

import pytest

from authz.audit.layout import CHECKPOINT
from authz.core.audit.keys import SignatureType, VerifierKey
from tests.support.factories.audit_logs import ORIGIN, WITNESSES
from tests.support.factories.written_logs import checkpoint_of
from tests.unit.cli.test_audit_witnesses import ID, KEY, TIME, W0, cosigned, folder, run, verify, witness  # noqa: F401


def test_a_password_in_the_url_of_a_witness_is_in_no_error(folder):  # noqa: F811
    exit_status, out, err = verify(folder, "--witness", W0, "--ask-witness", "https://ada:s3cret@w.test/")
    assert (exit_status, out) == (2, "")
    assert "s3cret" not in err


@pytest.mark.parametrize("name", ["witness.example/w0", ORIGIN])
def test_a_witnesss_key_for_that_of_the_log_is_a_mistake(folder, name):  # noqa: F811
    """It signs something else: what it cosigned says nothing about who wrote the log."""
    (folder / CHECKPOINT).write_bytes(cosigned(checkpoint_of(folder), WITNESSES[0]))
    assert run("prove", ID, folder, "--key", KEY, "--output", "receipt")[0] == 0
    key = VerifierKey(name, SignatureType.COSIGNATURE, WITNESSES[0].public.public_key)
    for done in (
        run("verify", folder, "--key", key),
        run("check-receipt", "receipt", "--key", key),
        run("prove", ID, folder, "--key", key),
    ):
        assert done[0] == 2, done
        assert "key" in done[2]


def test_a_program_reads_how_old_is_what_a_witness_shows(folder, witness):  # noqa: F811
    """A witness that lies, or hangs behind, shows an old checkpoint: with no time, `verified` would say too much."""
    exit_status, out, _ = verify(folder, "--witness", W0, "--ask-witness", witness.url, "--json")
    assert exit_status == 0
    (asked,) = json.loads(out)["asked"]
    assert asked["from"].startswith(witness.url)
    assert (asked["size"], asked["cosigned"]) == (906, {W0: TIME})
