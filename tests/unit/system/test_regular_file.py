"""The one opener: it never waits, takes regular files only, and looks at the size before it reads."""

import os
import resource
import socket
import threading
from pathlib import Path

import pytest

from authz.cli.policy_files import PolicyFile
from authz.core.errors import AuthzError, ConfigError
from authz.engine.binding import credentials
from authz.engine.contract import TlsFiles
from authz.fetching.download import tls_of
from authz.keys.fetch import read_file
from authz.runs.airflow_rest import _NoAnswerError, token_in
from authz.serve.signing_keys import load_keys
from authz.sessions.revocation_file import RevocationFile
from authz.settings import Assertion, Settings, read
from authz.system.regular_file import open_regular, read_regular, read_secret
from tests.support.simulators.idp import PATIENCE_S


def make_fifo(path):
    os.mkfifo(path)


def make_folder(path):
    path.mkdir()


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def make_device(path):
    path.symlink_to("/dev/zero")


def make_huge(path):
    path.touch()
    os.truncate(path, 3 << 30)  # a hole: three gigabytes that take no room on the disk


NO_FILES = {
    make_fifo: "a FIFO, not a regular file",
    make_folder: "a folder, not a regular file",
    make_socket: "a socket, not a regular file|No such device",
    make_device: "a device, not a regular file",
}

READERS = {
    "settings": read,
    "policy of a command": lambda path: PolicyFile(path).bundle(),
    "assertion key": lambda path: load_keys(
        Settings(version=1, assertion=Assertion(issuer="https://gate", keys=(str(path),)))
    ),
    "certificate": lambda path: credentials(TlsFiles(certificate=str(path), key=str(path), client_ca=None)),
    "certificate authority": lambda path: tls_of(str(path)),
    "key set": lambda path: read_file(str(path), 1000),
    "token for Airflow": lambda path: token_in(path)(),
    "revocations": lambda path: RevocationFile(path).news(),
    "revocations, to write": lambda path: RevocationFile(path).append([]),
}


def at_once(call):
    """What the call raises; it must not wait for anything."""
    raised = []

    def catch():
        try:
            call()
        except (OSError, AuthzError, _NoAnswerError) as error:
            raised.append(error)

    thread = threading.Thread(target=catch, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "it waits"
    assert raised, "it was taken for a file"
    return raised[0]


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_at_once(tmp_path, reader, make):
    path = tmp_path / "file"
    make(path)
    error = at_once(lambda: READERS[reader](path))
    assert isinstance(error, OSError | AuthzError | _NoAnswerError)


@pytest.mark.parametrize("reader", READERS)
def test_a_huge_file_is_refused_before_it_is_read(tmp_path, reader):
    path = tmp_path / "file"
    make_huge(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    at_once(lambda: READERS[reader](path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB; 3 GiB would be read otherwise


@pytest.mark.parametrize(("make", "says"), NO_FILES.items())
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_APPEND])
def test_the_refusal_names_what_is_there_instead(tmp_path, make, says, flags):
    path = tmp_path / "file"
    make(path)
    error = at_once(lambda: open_regular(path, flags))
    assert isinstance(error, OSError)
    assert error.filename == str(path)
    with pytest.raises(OSError, match=says):
        raise error


def test_the_size_is_a_bound_that_may_be_reached(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_regular(path, 100) == b"x" * 100
    with pytest.raises(OSError, match="larger than 99B"):
        read_regular(path, 99)


def test_a_file_that_says_nothing_of_its_size_is_bounded_too():
    assert read_regular("/proc/self/status", 1 << 20).startswith(b"Name:")
    with pytest.raises(OSError, match="larger than 16B"):
        read_regular("/proc/self/status", 16)


@pytest.mark.parametrize("name", ["nul\0byte", "\udfff"])
def test_a_name_that_no_file_can_have(name):
    with pytest.raises(OSError, match="path holds NUL"):
        read_secret(name)


def test_what_vanishes_before_it_is_named(tmp_path):
    """Opened for writing, a folder is refused by the system; another thing may be there when we look what it was."""
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(f"{tmp_path}/", os.O_WRONLY)


def test_links_are_followed(tmp_path):
    """A mounted ConfigMap consists of links."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    assert read_secret(tmp_path / "link") == b"x"


def test_no_descriptor_is_left_open_after_a_refusal(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        with pytest.raises(OSError, match="a folder"):
            open_regular(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_an_authority_without_a_certificate_is_not_the_systems(tmp_path):
    """An empty file must not mean that every authority of the system is believed."""
    path = tmp_path / "ca.pem"
    for text in ("", "no certificate", "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"):
        path.write_text(text)
        with pytest.raises(OSError):  # noqa: PT011 the words are OpenSSL's
            tls_of(str(path))


def test_settings_say_where_the_mistake_is(tmp_path):
    make_fifo(tmp_path / "authz.yaml")
    with pytest.raises(ConfigError, match=r"authz.yaml: cannot be read: it is a FIFO, not a regular file"):
        read(tmp_path / "authz.yaml")
