"""What the command line of `authz serve` says instead of the settings, in processes of their own."""

import pytest

from tests.e2e.gate import SETTINGS, Gate
from tests.support.factories.tokens import make_key
from tests.support.simulators.idp import IdP


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("configured", "said", "serves"), [("cq", "aio", "aio"), ("aio", "cq", "cq"), ("aio", "", "aio")]
)
def test_the_engine_is_chosen_on_the_command_line(tmp_path, workers, configured, said, serves):
    settings = SETTINGS.replace("workers: 1", f"workers: {workers}") + f"engine: {configured}\n"
    arguments = ["--engine", said] if said else []
    with IdP([make_key("ES256")]) as idp, Gate(tmp_path, idp, settings=settings, arguments=arguments) as gate:
        assert len(gate.workers) == (workers if workers > 1 else 0)
        engines = [line for line in gate.get("/metrics").text.splitlines() if line.startswith("authz_engine_info{")]
        assert engines == [f'authz_engine_info{{engine="{serves}"}} 1.0'], "of all workers, each the same"
