"""The keys that Airflow signs the tokens of its tasks with, and the place where it publishes them.

    with TaskKeys(folder) as keys, AirflowSite(folder, options=keys.options(), ...):
        keys.sign(sub=..., scope="execution")      what whoever reads the private key can make
        keys.published = [other]                   what `keys.url` answers from now on

The private key is a file that only its owner can read. Airflow's default, a shared secret, is gone.
"""

import time
import uuid
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.factories.tokens import FactoryKey, make_key, sign
from tests.support.simulators.idp import IdP

ISSUER = "https://airflow.test"
AUDIENCE = "urn:airflow.apache.org:task"  # Airflow's default


class TaskKeys:
    """One Ed25519 key in a file below `folder`, and the server of the public one."""

    def __init__(self, folder: Path):
        self.key = make_key("EdDSA", kid="tasks-1")
        self.file = folder / "task-signing-key.pem"
        self._server = IdP([self.key])

    def __enter__(self):
        self.file.touch(mode=0o600)
        self.file.write_bytes(self.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._server.__enter__()
        return self

    def __exit__(self, *_error):
        self._server.stop()

    @property
    def url(self):
        return self._server.jwks_uri

    @property
    def server(self):
        """To misbehave, and to count."""
        return self._server

    @property
    def published(self):
        return self._server.keys

    @published.setter
    def published(self, keys):
        self._server.keys = list(keys)

    def options(self):
        """What Airflow's scheduler and API server are told; tasks and their workers need nothing of it."""
        return {
            "AIRFLOW__API_AUTH__JWT_SECRET": None,
            "AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH": str(self.file),
            "AIRFLOW__API_AUTH__TRUSTED_JWKS_URL": self.url,
            "AIRFLOW__API_AUTH__JWT_KID": self.key.kid,
            "AIRFLOW__API_AUTH__JWT_ISSUER": ISSUER,
        }

    def sign(self, key: FactoryKey | None = None, **changes):
        """A task token as Airflow makes it, with changes."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "jti": uuid.uuid4().hex,
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "scope": "execution",
            **changes,
        }
        return sign(claims, key or self.key, headers={"typ": "JWT"})
