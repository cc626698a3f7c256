"""Facts about task runs from outside this process: questions to Airflow, and the replay cache."""
