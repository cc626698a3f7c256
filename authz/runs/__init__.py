"""Facts about task runs from outside this process: questions to Airflow, and the replay cache.

Law: what cannot be known is a denial, never an allow.
"""
