"""The demo: a real provider, a real Envoy, a real Airflow and the gate on one machine, and a tour that checks them.

Law: development only. Every listener is on loopback, every secret is a fixed demonstration value or made at start, and
the server does not import this package.
"""
