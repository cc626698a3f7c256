"""JOSE: encoding, strict JSON, key sets, weak keys, ES256."""
