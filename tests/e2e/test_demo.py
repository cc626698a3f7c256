"""`make demo` as a person uses it: the tour passes, the printed commands work, and nothing stays behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.chromium import chromium
from tests.support.sites.demo import READY, printed_commands
from tests.support.sites.demo import demo as running_demo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def processes():
    """Every live process: its id, and its parent's."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if entry.name.isdigit() and state != "Z":
            found[int(entry.name)] = int(parent)
    return found


def descendants(ancestor):
    """The processes that were started by `ancestor`, directly or not."""
    parents = processes()
    found, level = set(), {ancestor}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level} - found
        found |= level
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with running_demo(tmp_path_factory.mktemp("demo") / ".demo") as site:
        yield site


def test_every_row_of_the_tour_is_right(demo):
    process, said, _ = demo
    text = said.read_text()
    assert process.poll() is None, text
    passed, failed = map(int, READY.search(text).groups())
    assert (passed >= 50, failed) == (True, 0), text


def test_the_printed_commands_work_as_they_stand(demo):
    _, said, _ = demo
    script = printed_commands(said)
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.count("HTTP/1.1 200 OK") == script.count("curl -i") == 3


def test_at_the_printed_address_people_log_in_with_a_browser(demo):
    _, said, _ = demo
    url = re.search(r"in a browser +(http://localhost:\d+)", said.read_text())[1]
    with chromium() as browser:
        for name, login in (("Adam Admin", "adam"), ("Ann Viewer", "ann")):
            page = browser.new_page()
            page.goto(f"{url}/dags")
            page.get_by_role("button", name=name).click()
            page.wait_for_url(f"{url}/dags")
            assert f'"username":"{login}"' in page.evaluate("() => fetch('/ui/auth/me').then(answer => answer.text())")
            page.context.close()


def test_sigterm_ends_it_and_all_that_it_started(demo):
    process, said, _ = demo
    started = descendants(process.pid)
    assert len(started) >= 7
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert "Stopping" in said.read_text()
    assert not started & set(processes())


def test_a_child_that_cannot_start_ends_the_demo_with_the_tail_of_its_log(tmp_path):
    directory = tmp_path / ".demo"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "waitress.py").write_text("raise SystemExit('the provider is broken on purpose')\n")
    ended = subprocess.run(
        [sys.executable, "-m", "demo", "--tour", "--directory", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(broken)},
    )
    assert ended.returncode == 1
    assert "idp ended early with status 1" in ended.stdout
    assert "broken on purpose" in ended.stdout
