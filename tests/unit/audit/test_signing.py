"""The keys that sign: made once for us alone, read strictly, never shown."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from authz.audit.signing import load_keys, origin_of, read_signed, signed
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.frontier import Frontier
from authz.core.errors import AuditBrokenError, ConfigError
from tests.support.factories.audit_logs import LOG, ORIGIN, Key
from tests.support.factories.written_logs import KEY, NEXT_KEY, OTHER

HEAD = Checkpoint(ORIGIN, 0, Frontier().root())


def test_a_missing_first_key_is_made_for_us_alone_and_read_again(tmp_path):
    (key,) = load_keys([tmp_path / "log.pem"], ORIGIN)
    assert (tmp_path / "log.pem").stat().st_mode & 0o777 == 0o600
    assert load_keys([tmp_path / "log.pem"], ORIGIN) == (key,)
    assert read_signed(signed(HEAD, [key]), [key.public]) == (HEAD, {key.public})


def test_other_keys_must_be_there(tmp_path):
    load_keys([tmp_path / "old.pem"], ORIGIN)
    new, old = load_keys([tmp_path / "new.pem", tmp_path / "old.pem"], ORIGIN)
    assert new != old
    assert read_signed(signed(HEAD, [new, old]), [old.public, new.public])[1] == {new.public, old.public}
    with pytest.raises(ConfigError, match=r"gone\.pem: the log's key cannot be used: No such file"):
        load_keys([tmp_path / "new.pem", tmp_path / "gone.pem"], ORIGIN)
    assert not (tmp_path / "gone.pem").exists()
    with pytest.raises(ConfigError, match="this key is there already"):
        load_keys([tmp_path / "new.pem", tmp_path / "new.pem"], ORIGIN)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not an unencrypted private key"),
        (
            generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "not an Ed25519 private key (make one: openssl",
        ),
        (
            generate_private_key(SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
            ),
            "not an unencrypted private key",
        ),
    ],
)
def test_what_is_no_key_is_refused_without_its_content(tmp_path, data, text):
    (tmp_path / "log.pem").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_keys([tmp_path / "log.pem"], ORIGIN)
    assert text in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_a_key_cannot_be_made_where_there_is_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="cannot be used: No such file"):
        load_keys([tmp_path / "nowhere" / "log.pem"], ORIGIN)


def test_a_private_key_is_never_shown():
    assert "sign" not in repr(KEY)
    assert KEY != NEXT_KEY


def test_the_origin_is_the_issuers_host_and_the_gates_name():
    assert origin_of("https://Gate.example:8443/x", "eu-1") == "gate.example/audit/eu-1"
    with pytest.raises(ValueError, match="not an http or https URL"):
        origin_of("gate", "eu-1")


def test_a_checkpoint_is_of_the_log_that_its_key_names():
    strange = Key("elsewhere.example", 1)
    data = signed(HEAD, [KEY])
    with pytest.raises(AuditBrokenError, match="no known key"):
        read_signed(data, [OTHER.public, strange.public])
    other = Key("elsewhere.example", 3)
    from authz.core.audit import note

    forged = note.write(HEAD.text, [note.sign(HEAD.text, other.public, other.sign)])
    with pytest.raises(AuditBrokenError, match="of another log"):
        read_signed(forged, [other.public, LOG.public])
