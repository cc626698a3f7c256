"""Names whose location differs between Airflow 3.1, 3.2 and 3.3.

Law: names only; differences in behaviour are handled where they matter.
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
