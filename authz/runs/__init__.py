"""What is known of task runs outside this process: Airflow is asked, used proofs are remembered."""
