"""`authz completion`: what a shell offers. In bash by bash itself; the other shells' scripts by what they ask."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENV = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def offered(words, tmp_path):
    """What bash offers for the last of these words."""
    script = """
        source <(authz completion bash)
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _authz_completion "$1" "${@: -1}" "${@: -2:1}"
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env=ENV,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_options(tmp_path):
    assert sorted(offered(["authz", "wh"], tmp_path)) == ["what-can", "who-can"]
    assert offered(["authz", "diff", "--fail"], tmp_path) == ["--fail-on-widen"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_scripts_ask_for_completions(shell, tmp_path):
    made = subprocess.run(
        ["authz", "completion", shell], env=ENV, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert f"_AUTHZ_COMPLETE={shell}_complete" in made
    asked = {"COMP_WORDS": "authz dif", "COMP_CWORD": "1" if shell == "zsh" else "dif"}
    answer = subprocess.run(
        ["authz"],
        env={**ENV, **asked, "_AUTHZ_COMPLETE": f"{shell}_complete"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "diff" in answer
    assert "lint" not in answer
