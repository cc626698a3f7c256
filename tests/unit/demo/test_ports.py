import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from demo import ports
from demo.ports import END, FIRST, HOST, free_ports


@pytest.fixture(autouse=True)
def _own_counter(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_ports_are_below_those_that_the_system_gives_to_connections():
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    given = [port for _ in range(20) for port in free_ports(7)]
    assert all(FIRST <= port < min(END, lowest) for port in given)


def test_no_port_is_given_twice_by_processes_that_ask_at_the_same_time(tmp_path):
    program = "from demo.ports import free_ports\nfor _ in range(200): print(*free_ports(3))"
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", program], env={"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    given = [int(port) for one in asking for port in re.findall(r"\d+", one.communicate()[0])]
    assert [one.returncode for one in asking] == [0] * 4
    assert len(given) == len(set(given)) == 4 * 200 * 3


def test_a_port_that_is_used_is_passed_over():
    first = free_ports(1)[0]
    with socket.socket() as used:
        used.bind((HOST, first + 2))
        assert used.getsockname()[1] not in free_ports(4)


def test_after_the_last_port_comes_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(ports, "END", FIRST + 10)
    assert {port for _ in range(10) for port in free_ports(3)} <= set(range(FIRST, FIRST + 10))


def test_it_says_so_where_all_ports_are_used(monkeypatch):
    monkeypatch.setattr(ports, "_are_free", lambda ports: False)
    with pytest.raises(OSError, match="no 2 ports in a row between 20000 and 32000 are free"):
        free_ports(2)


@pytest.mark.parametrize("text", ["", "no number", "-5", "99999999"])
def test_a_damaged_counter_starts_again_within_the_range(tmp_path, text):
    free_ports(1)
    (counter,) = tmp_path.iterdir()
    counter.write_text(text)
    assert FIRST <= free_ports(1)[0] < END
