"""What has another place in Airflow 3.1 and 3.2 than in 3.3.

Law: names only; what differs in behaviour is where it matters.
"""

try:
    from airflow.sdk.bases.secrets_backend import BaseSecretsBackend
except ImportError:  # Airflow 3.1
    from airflow.secrets.base_secrets import BaseSecretsBackend  # type: ignore[assignment]
try:
    from airflow.sdk.configuration import conf
except ImportError:  # Airflow 3.1
    from airflow.configuration import conf

__all__ = ["BaseSecretsBackend", "conf"]
