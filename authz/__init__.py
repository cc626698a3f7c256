"""airflow-envoy-authz: an Envoy external-authorization service for Apache Airflow."""

__version__ = "0.1.0"
