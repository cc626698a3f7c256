"""A gate with two workers as real processes, each asked on its own address. Test support."""

import json
import os
import select
import signal
import threading
from pathlib import Path

import grpc

from authz.engine.contract import CHECK
from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import SETTINGS, Gate, token
from tests.support.factories.tokens import make_key
from tests.support.rigs.service import message, read
from tests.support.simulators.idp import PATIENCE_S

KEY = make_key("ES256", kid="k1")
TWO = SETTINGS.replace("workers: 1", "workers: 2")
assert TWO != SETTINGS


class Pair(Gate):
    """A gate with two workers, asked directly, each on its own address."""

    def __init__(self, folder, idp, **options):
        super().__init__(folder, idp, **{"settings": TWO, **options})
        self.idp = idp
        self.channels = []

    def __enter__(self):
        super().__enter__()
        self.channels = [grpc.insecure_channel(endpoint) for endpoint in self.endpoints]
        return self

    def __exit__(self, *exc):
        for channel in self.channels:
            channel.close()
        if self.process.poll() is None:  # a test that is about the end has waited for it
            self.process.send_signal(signal.SIGKILL)
        super().__exit__(*exc)

    def token(self, key=KEY, **changes):
        return token(key, **{"iss": self.idp.url, **changes})

    def check(self, index, credential=None, *, headers=None, **parts):
        headers = headers or [("authorization", f"Bearer {credential or self.token()}".encode())]
        call = self.channels[index].unary_unary(CHECK)
        return read(call(message(headers=headers, **parts), timeout=PATIENCE_S, wait_for_ready=True))

    def connect_again(self):
        """New channels, at once: old ones wait before they look for a worker that has come back."""
        for channel in self.channels:
            channel.close()
        self.channels = [grpc.insecure_channel(endpoint) for endpoint in self.endpoints]

    def folder_of_workers(self):
        [pid] = {self.workers[0]}
        told = Path(f"/proc/{pid}/environ").read_text()
        return Path(json.loads(told.split("AUTHZ_WORKER=")[1].split("\0")[0])["folder"])

    def until_gone(self, pids):
        wait_for(lambda: not any(alive(pid) for pid in pids), f"{pids} live on", pause=threading.Event().wait)


def alive(pid):
    """Whether one of its threads runs; without any its sockets are closed. One that is dead may wait for init."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return not select.select([process], [], [], 0)[0]
    finally:
        os.close(process)
