"""What Airflow's DAG folder holds here: the files in `dag_files`."""

from pathlib import Path

DAGS = {path.stem: path.read_text() for path in Path(__file__).with_name("dag_files").glob("*.py")}
HELD = ("sales_daily", "finance_close", "local")  # triggered once, held for as long as the tests run
