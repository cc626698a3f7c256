"""`python -m tests.parity`: asks a real Airflow with FAB, asks ourselves, and holds the answers against each other."""

import sys
import tempfile
import time
from pathlib import Path

from tests.parity.judge import judge
from tests.parity.theirs import running


def main() -> int:
    """Print the report; 1 when anything is wrong."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="parity-") as folder, running(Path(folder) / "airflow") as airflow:
        report = judge(airflow)
    for line in report.lines():
        print(line)  # noqa: T201
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)  # noqa: T201
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
