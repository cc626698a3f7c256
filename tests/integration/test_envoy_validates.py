"""Every sample is accepted by the real Envoy, the newest and the oldest that we support."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.certificates import Authority
from tests.e2e.envoy_harness import ROOT, newest, oldest
from tests.support.missing import skip_or_fail

# What Envoy calls work in progress and we use nevertheless, each because nothing else does it (docs/decisions.md).
IN_PROGRESS = {
    "xds.core.v3.CidrRange",  # the addresses that a dynamic host may not have
    "envoy.extensions.filters.http.custom_response.v3.CustomResponse",  # what a destination may not answer
    "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy",
    "envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2",  # tokens for destinations
    "envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2.ClientCredentials",
}
NEED_1_39 = {"dynamic.yaml"}
SAMPLES = sorted(path.name for path in (ROOT / "envoy").glob("*.yaml") if ".authz." not in path.name)


@pytest.fixture(params=["newest", "oldest"])
def envoy(request):
    if request.param == "newest":
        return newest()
    if not oldest().exists():
        skip_or_fail("the oldest supported Envoy is not installed: run `make .envoys/oldest/.installed`")
    return oldest()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the samples name below /etc and /var, somewhere we may write."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    for stem in ("edge", "envoy"):
        authority.issue(f"{stem}.test", stem=stem)
    return {
        "/etc/envoy/tls/internal-ca.pem": str(authority.ca),
        "/etc/ssl/certs/ca-certificates.crt": str(authority.ca),
        "/etc/envoy/tls": str(folder),
        "/etc/envoy/secrets": str(folder),
        "/etc/envoy/sds": str(folder / "sds"),
        "/var/log/envoy": str(folder),
    }


def moved(text, files):
    """A sample's text with its paths where we may write."""
    for path, replacement in files.items():
        text = text.replace(path, replacement)
    return text


def validate(envoy: Path, config: Path) -> subprocess.CompletedProcess[str]:
    arguments = [envoy, "--mode", "validate", "--log-level", "warning", "-c", config]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_valid_and_uses_nothing_deprecated(envoy, name, files, tmp_path):
    config = tmp_path / name
    config.write_text(moved((ROOT / "envoy" / name).read_text(), files))
    sds = Path(files["/etc/envoy/sds"])
    sds.mkdir(exist_ok=True)
    for path in (ROOT / "envoy" / "sds").iterdir():
        (sds / path.name).write_text(moved(path.read_text(), files))
    for secret in ("client", "cookie", "tickets", "crm"):
        Path(files["/etc/envoy/secrets"], f"{secret}.secret").write_text("a secret")
    result = validate(envoy, config)
    if name in NEED_1_39 and envoy == oldest():
        assert result.returncode != 0, "what an Envoy cannot do it must not pass over"
        return
    assert result.returncode == 0, result.stderr
    assert "OK" in result.stdout + result.stderr
    assert "deprecated" not in result.stderr.lower()
    warnings = [line for line in result.stderr.splitlines() if "[warning]" in line]
    assert [line for line in warnings if not any(f"'{name}' is contained" in line for name in IN_PROGRESS)] == []


def test_an_unknown_field_is_refused(envoy, tmp_path):
    config = tmp_path / "bad.yaml"
    config.write_text((ROOT / "envoy" / "tcp.yaml").read_text() + "no_such_field: 1\n")
    result = validate(envoy, config)
    assert result.returncode != 0
    assert "no_such_field" in result.stderr
