import json

from authz.airflow import verifier
from authz.airflow.dag_grant import grant_of
from authz.authn.run_minter import asking_as
from authz.core import assertion

NOW = 1_800_000_000
KEY = assertion.load_signing_key(assertion.generate_pem())


def test_the_gate_asks_airflow_with_an_assertion_that_airflow_accepts():
    headers = asking_as(KEY, issuer="https://gate.test", audience="airflow", now=NOW + 0.5)
    keys = verifier.parse_keys(json.dumps(assertion.public_jwks([KEY])).encode())
    expected = verifier.Expected(issuer="https://gate.test", audience="airflow", clock_skew=0)
    told = verifier.verify(headers[assertion.HEADER], keys, expected, NOW)
    assert isinstance(told, verifier.Asserted), told
    assert (told.subject, told.airflow_role) == ("authz", "viewer")
    assert told.dags == grant_of(("*",), ())
    assert told.menu == frozenset()
