"""Whose threads read the sockets."""

import os
import subprocess
import sys

import pytest

from authz.engine.poller import choose_poller

# Serves and asks itself many times, then prints how often gRPC's own threads were woken for it.
_SERVE = """
import sys, tempfile, threading
from pathlib import Path
from authz.engine import EngineOptions
from authz.engine.contract import CHECK
from authz.engine.cq import CqEngine
import grpc

class Handler:
    parked = 0
    def check(self, message):
        return message
    def overloaded(self):
        return b""

def switches():
    total = 0
    for task in Path("/proc/self/task").iterdir():
        if "event_engine" in (task / "comm").read_text():
            status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines() if ":" in line)
            total += int(status["voluntary_ctxt_switches"])
    return total

with tempfile.TemporaryDirectory() as folder:
    address = f"unix:{folder}/one.sock"
    handler, ready = Handler(), threading.Event()
    options = EngineOptions(listen=[address], drain_delay=0.0, drain_grace=1.0)
    engine = CqEngine(handler, options, load=handler)
    thread = threading.Thread(target=engine.run, args=(lambda _: ready.set(),))
    thread.start()
    assert ready.wait(10)
    # Another process asks: the client's own sockets are read by the event engine of the process that it is in.
    import subprocess
    ask = "import grpc, sys; f = grpc.insecure_channel(sys.argv[1]).unary_unary(sys.argv[2])\\n"
    ask += "for _ in range(300): f(b'x', timeout=10)"
    subprocess.run([sys.executable, "-c", ask, address, CHECK], check=True)
    print(switches())
    engine.stop()
    thread.join(10)
"""


def serve(**settings):
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"} | settings
    ended = subprocess.run(
        [sys.executable, "-c", _SERVE], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout), ended.stderr


def test_the_serving_thread_reads_the_sockets():
    """300 calls would wake gRPC's threads 300 times and more; this grpcio knows the setting, and says nothing of it."""
    settings = {}
    choose_poller(["unix:/run/authz/one.sock"], client_ca=False, environment=settings)
    woken, said = serve(**settings)
    assert woken < 150
    assert said == ""


def test_where_anybody_can_connect_grpcs_own_threads_read():
    settings = {}
    choose_poller(["127.0.0.1:9190"], client_ca=False, environment=settings)
    woken, said = serve(**settings)
    assert woken >= 300
    assert said == ""


OFF = "-event_engine_listener"


@pytest.mark.parametrize(
    ("listen", "client_ca", "before", "after"),
    [
        (["unix:/a.sock"], False, "", OFF),
        (["unix:/a.sock", "unix:/b.sock"], False, "", OFF),
        (["0.0.0.0:1"], True, "", OFF),
        (["unix:/a.sock", "127.0.0.1:1"], False, "", ""),
        (["127.0.0.1:1"], False, "", ""),
        (["127.0.0.1:1"], False, OFF, OFF),
        (["unix:/a.sock"], False, "tcp_frame_size_tuning", f"tcp_frame_size_tuning,{OFF}"),
        (["unix:/a.sock"], False, "event_engine_listener", "event_engine_listener"),
        (["unix:/a.sock"], False, f"{OFF},x", f"{OFF},x"),
    ],
)
def test_choose_poller_extends_grpc_experiments_only_for_private_listeners(listen, client_ca, before, after):
    environment = {"GRPC_EXPERIMENTS": before} if before else {}
    choose_poller(listen, client_ca=client_ca, environment=environment)
    assert environment.get("GRPC_EXPERIMENTS", "") == after
