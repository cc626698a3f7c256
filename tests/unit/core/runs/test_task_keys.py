"""The keys of task tokens: the public half is what Airflow itself would trust, and nothing private gets out."""

import json

import jwt
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from authz.cli import main
from authz.core.runs import task_keys

PKCS8 = (Encoding.PEM, PrivateFormat.PKCS8)
CURVE = ec.generate_private_key(ec.SECP256R1()).private_bytes(*PKCS8, NoEncryption())
LOCKED = load_pem_private_key(task_keys.generate_pem(), None).private_bytes(*PKCS8, BestAvailableEncryption(b"pw"))


def test_what_the_private_half_signs_the_public_half_verifies():
    pem = task_keys.generate_pem()
    public = task_keys.public_jwk(pem)
    token = jwt.encode({"sub": "x"}, pem, algorithm="EdDSA")
    assert jwt.decode(token, jwt.PyJWK(public), algorithms=["EdDSA"]) == {"sub": "x"}
    assert "d" not in public
    assert task_keys.generate_pem() != pem


def test_the_key_id_is_the_one_that_airflow_takes():
    from airflow.api_fastapi.auth.tokens import key_to_jwk_dict

    pem = task_keys.generate_pem()
    airflows = key_to_jwk_dict(load_pem_private_key(pem, None))
    public = task_keys.public_jwk(pem)
    assert {name: public[name] for name in airflows} == airflows


@pytest.mark.parametrize("pem", [b"", b"no key", CURVE, LOCKED], ids=["empty", "text", "EC", "locked"])
def test_what_is_no_such_key_is_refused_without_a_word_of_it(pem, tmp_path):
    with pytest.raises(ValueError, match=r"^not an ") as refused:
        task_keys.public_jwk(pem)
    assert "PRIVATE" not in str(refused.value)
    (tmp_path / "key.pem").write_bytes(pem)
    ran = CliRunner().invoke(main, ["task-keys", str(tmp_path / "key.pem"), str(tmp_path / "missing.pem")])
    assert ran.exit_code == 2
    assert f"{tmp_path}/key.pem: not an " in ran.stderr
    assert "missing.pem: the key cannot be read: No such file or directory" in ran.stderr
    assert ran.stdout == ""


def test_the_command_prints_the_key_set_of_all_keys(tmp_path):
    pems = [task_keys.generate_pem() for _ in range(2)]
    paths = []
    for number, pem in enumerate(pems):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(pem)
        paths.append(str(path))
    ran = CliRunner().invoke(main, ["task-keys", *paths])
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert json.loads(ran.stdout) == {"keys": [task_keys.public_jwk(pem) for pem in pems]}
