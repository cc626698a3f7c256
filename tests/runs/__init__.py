"""A package, so that what these tests share (an Airflow, a broker, a worker, a gate) ends with the last of them."""
