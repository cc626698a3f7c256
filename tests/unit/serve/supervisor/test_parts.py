"""The smaller parts of the supervisor: places, private pages, the fleet's own metrics, what it may import."""

import contextlib
import http.server
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from authz import settings
from authz.core.errors import ConfigError
from authz.serve.supervisor import private_pages
from authz.serve.supervisor.fleet import Fleet, _own_code
from authz.serve.supervisor.together import WorkerState
from authz.serve.supervisor.view import families
from authz.serve.supervisor.worker import settings_at
from authz.serve.supervisor.worker_context import VARIABLE, WorkerContext, context_of
from tests.support.simulators.idp import PATIENCE_S

PLACE = WorkerContext(index=1, count=2, folder="/run/authz/x", lifeline=7, signing_keys=(8, 9))


def test_a_workers_place_is_read_back_from_its_environment():
    assert context_of(PLACE.environment()) == PLACE
    assert context_of({}) is None


@pytest.mark.parametrize("text", ["", "nonsense", "{}", "[]", '{"index": 1}', '{"a": 1}'])
def test_what_no_supervisor_sets_is_refused(text):
    with pytest.raises(ConfigError, match="not what a supervisor sets"):
        context_of({VARIABLE: text})


def test_a_worker_listens_on_its_own_addresses(tmp_path):
    path = tmp_path / "authz.yaml"
    path.write_text('version: 1\nworkers: 2\nlisten: ["unix:/run/authz.sock", "127.0.0.1:9190"]\n')
    made = settings_at(PLACE, settings.load(path))
    assert made.listen == ("unix:/run/worker-1.sock", "127.0.0.1:9191")
    assert made.admin.listen == "unix:/run/authz/x/admin-1.sock"


def test_the_supervisor_imports_no_grpc():
    code = (
        "import sys, authz.serve.supervisor.run, authz.cli;"
        " sys.exit(any(name.startswith('grpc') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_the_working_folder_is_no_place_of_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "authz").mkdir()
    (tmp_path / "authz" / "__init__.py").write_text("raise SystemExit('code of somebody else')")
    monkeypatch.setenv(VARIABLE, "left over")
    ended = subprocess.run(
        [sys.executable, *_own_code(), "-m", "authz", "--version"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "somebody else" not in ended.stdout + ended.stderr


def test_from_our_own_folder_the_code_is_found_there(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[4])
    assert _own_code() == []


def test_the_supervisors_own_metrics():
    states = {0: WorkerState(ready=True, revision="a"), 1: None, 2: WorkerState(ready=False, revision="a"), 3: None}
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in families(states, {0: 0, 1: 4})
        for sample in metric.samples
    }
    assert found == {
        ("authz_workers", "ready"): 1,
        ("authz_workers", "not_ready"): 1,
        ("authz_workers", "silent"): 2,
        ("authz_worker_restarts_total", "0"): 0,
        ("authz_worker_restarts_total", "1"): 4,
    }


class TestPrivatePages:
    @pytest.fixture
    def listening(self, tmp_path):
        """A socket that somebody listens on and nobody answers at, as with a stopped process."""
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "silent.sock"))
            silent.listen()
            yield tmp_path / "silent.sock"

    @pytest.fixture
    def answering(self, tmp_path):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = self.path.encode()
                self.send_response(503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        path = tmp_path / "good.sock"
        server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield path
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)

    def test_a_worker_that_hangs_delays_the_pages_of_others_only_until_the_deadline(
        self, listening, answering, tmp_path
    ):
        begun = time.monotonic()
        paths = {"hangs": listening, "good": answering, "gone": tmp_path / "none.sock"}
        assert private_pages.read_all(paths, "/readyz", 0.3) == {"good": b"/readyz"}
        assert time.monotonic() - begun < 2.0

    def test_the_first_page_that_is_accepted_does_not_wait_for_one_that_hangs(self, listening, answering, tmp_path):
        paths = [listening, tmp_path / "none.sock", answering]
        begun = time.monotonic()
        assert private_pages.read_first(paths, "/grants/x", lambda body: body == b"/grants/x", 30.0) == b"/grants/x"
        assert time.monotonic() - begun < 15.0

    def test_no_page_is_accepted(self, listening, answering):
        assert private_pages.read_first([answering], "/x", lambda _body: False, PATIENCE_S) is None
        assert private_pages.read_first([listening], "/x", lambda _body: True, 0.1) is None
        assert private_pages.read_first([], "/x", lambda _body: True) is None

    def test_nonsense_is_no_answer(self, tmp_path):
        path = tmp_path / "odd.sock"
        with socket.socket(socket.AF_UNIX) as odd:
            odd.bind(str(path))
            odd.listen()

            def answer():
                connection, _ = odd.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(1000)
                    connection.sendall(b"nonsense\r\n\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            assert private_pages.read(path, "/", PATIENCE_S) is None
            thread.join(PATIENCE_S)


class TestFleet:
    """Processes that end at once stand in for workers here; real ones serve in tests/integration."""

    @pytest.fixture
    def fleet(self, tmp_path):
        return Fleet(tmp_path, 2, ["no-such-command"])

    def until_reaped(self, fleet):
        end = time.monotonic() + PATIENCE_S
        ended = []
        while fleet.running():
            assert time.monotonic() < end
            ended += fleet.reap()
            threading.Event().wait(0.01)
        return ended

    def test_a_seat_is_filled_reaped_and_filled_again(self, fleet, capfd):
        slot = fleet.slots[1]
        for number in (1, 2):
            fleet.spawn(slot, 5.0)
            assert slot.worker == (1, number)
            assert fleet.running() == [slot]
            [ended] = self.until_reaped(fleet)
            assert (ended.worker, ended.status, ended.last_metrics) == ((1, number), 2, "")
            assert not slot.listened
        assert "No such command" in capfd.readouterr().err

    def test_a_signal_reaches_a_running_worker(self, fleet):
        fleet.spawn(fleet.slots[0], 0.0)
        fleet.signal(9)
        [ended] = self.until_reaped(fleet)
        assert ended.status == -9

    def test_descriptors_do_not_leak(self, fleet):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            fleet.spawn(fleet.slots[0], 0.0)
            self.until_reaped(fleet)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
