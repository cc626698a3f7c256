"""What an Airflow in an environment of its own does with paths: `python airflow_choices.py MANAGER < targets.json`.

Run with `.airflows/VERSION/bin/python`, which has the FAB provider. Prints, for each target, the template and DAG that
Airflow chooses for each method.
"""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

from scripts import catalogue_walk
from tests.integration import airflow_oracle as oracle


def main(manager):
    targets, methods = json.load(sys.stdin)
    out, sys.stdout = sys.stdout, sys.stderr  # Airflow and uvicorn print to standard output
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(catalogue_walk.settings(Path(folder), manager))
        app = importlib.import_module("airflow.api_fastapi.app").create_app("all")
        answers = []
        for scope in oracle.scopes("httptools", targets):
            choices = [oracle.choose(app, {**scope, "method": method}) for method in methods]
            answers.append([[choice.template, choice.parameters.get("dag_id", "")] for choice in choices])
    json.dump(answers, out)
    out.flush()
    os._exit(0)  # Airflow leaves threads behind


if __name__ == "__main__":
    main(sys.argv[1])
