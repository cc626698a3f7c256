"""airflow-envoy-authz: an Envoy external-authorization service for Apache Airflow.

Law: no code. Two distributions bring this package, the server's and Airflow's (`authz/airflow/pyproject.toml`). Where
both are installed, either's file may be the one that stays.
"""
