"""`authz` as a person runs it: a process with a home of its own, and a browser for what it opens."""

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx

from demo.idp_store import PEOPLE

AUTHZ = Path(sys.executable).with_name("authz")
CLIENT = "airflow-cli"


class Person:
    """Someone at a terminal. `printed` is all that their commands have printed."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir()
        self.folder = home / ".local" / "state" / "authz"
        self.file = self.folder / "login-default"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("AUTHZ", "XDG"))}
        self.environment |= {"HOME": str(home), "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring"}
        self.printed = ""

    def run(self, *words, umask=0o022):
        """A command that ends by itself: its exit status, and what it printed on either output."""
        done = subprocess.run(
            [AUTHZ, *words], env=self.environment, capture_output=True, text=True, umask=umask, timeout=60, check=False
        )
        self.printed += done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    @contextmanager
    def logging_in(self, *words, umask=0o022):
        """`authz login` while it waits: the page that the person is to open."""
        with subprocess.Popen(
            [AUTHZ, "login", *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=umask,
        ) as process:
            try:
                said = process.stderr.readline()
                page = process.stderr.readline().strip()
                self.printed += said + page
                yield Waiting(self, process, said, page)
            finally:
                process.kill()

    def log_in(self, issuer, *words, login="ann", **how):
        """All of it; what the command printed at its end."""
        with self.logging_in("--issuer", issuer, "--client", CLIENT, "--no-browser", *words, **how) as waiting:
            answer = sign_in(waiting.page, login)
            assert answer.status_code == 200, answer.text
            status, out, err = waiting.end()
            assert status == 0, err
            return out


class Waiting:
    """A login that waits for the browser."""

    def __init__(self, person, process, said, page) -> None:
        self.person, self.process, self.said, self.page = person, process, said, page
        self.query = dict(httpx.URL(page).params)

    @property
    def redirect(self):
        """Where the browser comes back to."""
        return self.query["redirect_uri"]

    def end(self):
        """Wait for its end: exit status, and what it printed."""
        out, err = self.process.communicate(timeout=60)
        self.person.printed += out + err
        return self.process.returncode, out, err


def sign_in(page, login="ann", *, back=True):
    """Open a page of the provider as a browser does, choose somebody, and follow all redirects.

    Without `back` the last one, to the port that waits, is not followed: the address is returned.
    """
    with httpx.Client(timeout=30) as browser:
        answer = browser.get(page, follow_redirects=True)
        assert answer.status_code == 200, answer.text
        subject = PEOPLE[login].subject
        answer = browser.post(str(answer.url), data={"login": subject})
        while answer.is_redirect:
            target = answer.url.join(answer.headers["location"])
            if not back and target.path == "/callback":
                return str(target)
            answer = browser.get(target)
        return answer


def form_of(page):
    """The action and the hidden fields of the form on a page."""
    action = re.search(r'action="([^"]+)"', page.text)[1]
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    return action, hidden
