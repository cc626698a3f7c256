"""Someone who can write into the log's folder says that witnesses have cosigned it."""

import shutil

from tests.support.simulators.witness import Witness, status
from tests.support.waiting import wait_for
from tests.unit.serve.test_log_writer import Process, key, witnessed  # noqa: F401


def test_a_checkpoint_that_no_one_cosigned_is_not_counted_as_witnessed(tmp_path, key):  # noqa: F811
    """Else `AuthzWitnessesLate` is silent, and `/readyz` says that all records are witnessed."""
    with Witness("witness.example/w1", 1, [key]) as one:
        one.misbehave(status(500))
        with Process(tmp_path, witnessed(one)) as process:
            wait_for(lambda: process.says().signed)
        shutil.copy(process.folder / "checkpoint", process.folder / "witnessed")
        with Process(tmp_path, witnessed(one)) as process:
            wait_for(lambda: process.says().witnesses[0].problem)
            assert process.says().witnessed == 0
        one.behave()
        with Process(tmp_path, witnessed(one)) as process:
            wait_for(lambda: process.says().witnessed)
            before = process.says().witnessed
        one.misbehave(status(500))
        with Process(tmp_path, witnessed(one)) as process:
            assert process.writer._log.witnessed >= before, "what is cosigned is still counted after a restart"
