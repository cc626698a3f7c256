"""`make demo` as a person runs it: until its tour has ended, and then for as long as the test looks."""

import contextlib
import os
import re
import signal
import subprocess
import sys

READY = re.compile(r"tour: (\d+) passed, (\d+) failed")


@contextlib.contextmanager
def demo(directory, *options):
    """A running demo, a file with what it says, and where it lives."""
    said = directory.parent / "said.txt"
    with (
        said.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "demo", "--directory", str(directory), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as process,
    ):
        try:
            with said.open() as lines:
                while "curl -i" not in lines.read() and process.poll() is None:
                    signal.sigtimedwait([], 0.2)
                    lines.seek(0)
            yield process, said, directory
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def printed_commands(said):
    """The commands under "Try it:", as one script."""
    block = said.read_text().partition("Try it:")[2]
    return "set -e\n" + "\n".join(line.removeprefix("  ") for line in block.splitlines())
