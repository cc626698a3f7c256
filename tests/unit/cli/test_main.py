"""Help is the same at the group and at its commands, also where it cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from authz.cli import main

HELP = (["--help"], ["-h"], ["--version"], ["lint", "--help"], ["token", "--help"], ["token", "inspect", "-h"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", HELP, ids=" ".join)
def test_help_ends_with_0_and_with_2_where_it_cannot_be_written(arguments, unbuffered):
    """Also where Python keeps output until the end, as it does unless the environment says otherwise."""
    command = [sys.executable, "-m", "authz", *arguments]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    shown = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (shown.returncode, shown.stderr) == (0, "")
    with Path("/dev/full").open("w") as full:
        lost = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=env)
    assert (lost.returncode, lost.stderr) == (2, "error: No space left on device\n")


def test_each_command_has_the_name_by_which_it_is_asked_for():
    context = click.Context(main)
    assert {name: main.get_command(context, name).name for name in main.commands} == {
        name: name for name in main.commands
    }
    assert main.get_command(context, "dif") is None
