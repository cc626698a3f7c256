"""Secrets and certificates are replaced while people work: live within a moment, no restart, no failed request."""

import socket
import ssl
import threading

import httpx
import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.login_site import CLIENT_SECRET, LoginSite, replace


@pytest.fixture(scope="module")
def site(envoy_binary, tmp_path_factory):
    with LoginSite(tmp_path_factory.mktemp("login"), envoy_binary) as site:
        yield site


class Work:
    """Somebody's session in steady use, a connection per request, until the block ends."""

    def __init__(self, site, browser):
        self.statuses = []
        self._ended = threading.Event()
        cookie = "; ".join(f"{name}={value}" for name, value in site.cookies(browser).items())
        self._thread = threading.Thread(target=self._run, args=(site, {"cookie": cookie}), daemon=True)

    def _run(self, site, headers):
        with httpx.Client(verify=site.tls, headers=headers | {"connection": "close"}) as client:
            while not self._ended.is_set():
                try:
                    self.statuses.append(client.get(site.url + "/dags").status_code)
                except httpx.TransportError as error:
                    self.statuses.append(repr(error))

    def __enter__(self):
        self._thread.start()
        wait_for(lambda: bool(self.statuses), "nobody works", pause=self._ended.wait)
        return self

    def more(self, site, number):
        """Wait for so many more answers."""
        wanted = len(self.statuses) + number
        until(site, lambda: len(self.statuses) >= wanted, "the work stands still")

    def __exit__(self, *_exc):
        self._ended.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


def until(site, check, what):
    wait_for(check, what, pause=site.envoy.pause)


def logs_in(site):
    """Whether the provider accepts the client's secret that Envoy has now."""
    with site.browser() as browser:
        answer = browser.open(site.sign_in(browser, site.begin(browser)))
        assert answer.status_code in {200, 401}
        return answer.status_code == 200


def test_the_clients_secret_is_replaced(site):
    with site.browser() as browser:
        site.log_in(browser)
        with Work(site, browser) as work:
            replace(site.client_secret, "another secret")
            until(site, lambda: not logs_in(site), "Envoy still sends the old secret")
            replace(site.client_secret, CLIENT_SECRET)
            until(site, lambda: logs_in(site), "Envoy does not send the new secret")
            work.more(site, 5)
    assert set(work.statuses) == {200}


class Mounted(LoginSite):
    """Its secrets are what Kubernetes mounts: links to a folder that is itself a link, and is exchanged as a whole."""

    def __init__(self, folder, binary):
        super().__init__(folder, binary, secure=False)
        self.mount = folder / "mount"
        self.client_secret, self.cookie_secret = self.mount / "client.secret", self.mount / "cookie.secret"

    def write_secrets(self):
        self.mount.mkdir()
        self.publish("1", CLIENT_SECRET)
        for path in (self.client_secret, self.cookie_secret):
            path.symlink_to(f"..data/{path.name}")

    def publish(self, version, client_secret):
        made = self.mount / f"..{version}"
        made.mkdir()
        (made / "client.secret").write_text(client_secret)
        (made / "cookie.secret").write_text("the cookie secret of the test")
        (self.mount / "..data_tmp").symlink_to(made.name)
        (self.mount / "..data_tmp").rename(self.mount / "..data")


def test_a_mounted_secret_is_replaced(envoy_binary, tmp_path):
    with Mounted(tmp_path, envoy_binary) as site:
        assert logs_in(site)
        site.publish("2", "another secret")
        until(site, lambda: not logs_in(site), "Envoy still sends the old secret")
        site.publish("3", CLIENT_SECRET)
        until(site, lambda: logs_in(site), "Envoy does not send the new secret")


class Unready(LoginSite):
    """The cookie secret is missing."""

    def write_secrets(self):
        self.client_secret.write_text(CLIENT_SECRET)


def test_without_its_secrets_the_login_is_503_and_only_bearer_tokens_pass(envoy_binary, tmp_path):
    with Unready(tmp_path, envoy_binary, secure=False) as site, site.browser() as browser:
        page = browser.navigate(site.url + "/dags")
        assert (page.status_code, page.headers["cache-control"]) == (503, "no-store")
        assert "is waiting for its secrets" in page.text
        assert browser.script(site.url + "/dags").json()["error"] == "login_not_ready"
        assert site.upstream.requests == []
        assert browser.script(site.url + "/dags", headers={"authorization": "Bearer x"}).status_code == 200


def test_the_cookie_secret_is_replaced_and_ends_sessions(site):
    with site.browser() as browser:
        site.log_in(browser)
        site.upstream.reset()

        def out():
            answer = browser.navigate(site.url + "/dags")
            assert answer.status_code in {200, 302}, answer.text
            return answer.status_code == 302

        replace(site.cookie_secret, "the second cookie secret of the test")
        until(site, out, "the old session goes on")
        assert site.log_in(browser).status_code == 200
        assert not out()


def rejections(site, name):
    """How often Envoy refused what it found for a secret."""
    text = site.envoy.admin(f"/stats?filter=sds.*{name}.*(rejected|failure|failed)").body.decode()
    return sum(int(line.rpartition(":")[2]) for line in text.splitlines())


def test_a_secret_that_is_taken_away_changes_nothing(site):
    with site.browser() as browser:
        site.log_in(browser)
        text = site.cookie_secret.read_text()
        site.cookie_secret.unlink()
        replace(site.folder / "other", "another file of the folder")
        assert browser.navigate(site.url + "/dags").status_code == 200
        assert logs_in(site)
        replace(site.cookie_secret, text)
        assert browser.navigate(site.url + "/dags").status_code == 200


def test_a_broken_file_that_names_a_secret_keeps_the_old_one(site):
    file = site.folder / "sds" / "login_cookie_secret.yaml"
    good, before = file.read_text(), rejections(site, "login_cookie_secret")
    with site.browser() as browser:
        site.log_in(browser)
        replace(file, "no: [resource")
        until(site, lambda: rejections(site, "login_cookie_secret") > before, "Envoy did not look")
        assert browser.navigate(site.url + "/dags").status_code == 200
        replace(file, good)
        assert browser.navigate(site.url + "/dags").status_code == 200


def shown(site):
    """The certificate that Envoy shows now."""
    with (
        socket.create_connection(("127.0.0.1", site.port), 5) as connection,
        site.tls.wrap_socket(connection, server_hostname="127.0.0.1") as handshaken,
    ):
        return ssl.DER_cert_to_PEM_cert(handshaken.getpeercert(binary_form=True))


def test_the_listeners_certificate_is_replaced(site):
    pair = site.authority.issue("127.0.0.1", stem="new")
    wanted = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pair.certificate.read_text()))
    assert shown(site) != wanted
    with site.browser() as browser:
        site.log_in(browser)
        with Work(site, browser) as work:
            replace(site.folder / "edge-key.pem", pair.key.read_text())
            replace(site.folder / "edge.pem", pair.certificate.read_text())
            until(site, lambda: shown(site) == wanted, "Envoy still shows the old certificate")
            work.more(site, 5)
        assert set(work.statuses) == {200}
    failures = site.envoy.stat("sds.listener_certificate.key_rotation_failed")
    replace(site.folder / "edge.pem", "no certificate")
    until(site, lambda: rejections(site, "listener_certificate") > failures, "Envoy did not look")
    assert shown(site) == wanted
