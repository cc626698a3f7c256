"""The fast engine serves where it works, and its fall-back everywhere else."""

import os

import grpc
import pytest
from grpc._cython import cygrpc

from authz.engine import EngineOptions
from authz.engine.aio import AioEngine
from authz.engine.choose import choose, why_not_cq
from authz.engine.cq import CqEngine
from tests.contracts.engines import ScriptedHandler


class _Load:
    parked = 0


def chosen(wanted):
    options = EngineOptions(listen=["127.0.0.1:0"])
    return choose(wanted, ScriptedHandler(), options, load=_Load())


def test_the_installed_grpcio_is_a_tested_one_and_passes_the_self_check():
    """Also each other version that `make compatibility` puts in the installed one's place."""
    assert grpc.__version__ == os.environ.get("AUTHZ_TEST_GRPCIO", grpc.__version__)
    assert why_not_cq() == ""
    name, engine = chosen("cq")
    assert name == "cq"
    assert isinstance(engine, CqEngine)


def test_aio_can_be_asked_for():
    name, engine = chosen("aio")
    assert name == "aio"
    assert isinstance(engine, AioEngine)


@pytest.mark.parametrize("version", ["1.79.9", "1.86.0", "2.0.0", "3", "unknown"])
def test_another_grpcio_is_not_tried(version):
    assert why_not_cq(version) == f"grpcio {version} was not tested with it"


@pytest.mark.parametrize(
    "missing", ["ReceiveMessageOperation", "SendStatusFromServerOperation", "CompletionQueue", "Server"]
)
def test_when_the_private_surface_differs_grpc_aio_serves_and_the_log_says_so(monkeypatch, caplog, missing):
    monkeypatch.delattr(cygrpc, missing)
    monkeypatch.setattr("authz.engine.choose._PATIENCE_S", 1.0)
    name, engine = chosen("cq")
    assert name == "aio"
    assert isinstance(engine, AioEngine)
    assert "the cq engine cannot be used, grpc.aio serves instead" in caplog.text


def test_an_answer_that_is_wrong_is_noticed(monkeypatch):
    monkeypatch.setattr(CqEngine, "_on_message", lambda *_: None)
    monkeypatch.setattr("authz.engine.choose._PATIENCE_S", 0.5)
    assert why_not_cq().startswith("the self-check failed")


def test_the_tested_range_covers_what_the_project_installs():
    major, minor = map(int, grpc.__version__.split(".")[:2])
    assert (1, 80) <= (major, minor) < (1, 86)
