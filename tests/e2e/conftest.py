from dataclasses import dataclass

import pytest

from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.egress_site import EgressSite
from tests.e2e.envoy_harness import Envoy, newest, oldest, settings_for
from tests.e2e.front_site import KEY
from tests.e2e.login_site import LoginSite
from tests.e2e.raw_http import RawResponse, exchange, request
from tests.e2e.scripted_authz import ScriptedAuthz
from tests.e2e.stack import Stack
from tests.support.missing import skip_or_fail
from tests.support.simulators.idp import IdP


@pytest.fixture(scope="module", params=["newest", pytest.param("oldest", marks=pytest.mark.full)])
def envoy_binary(request):
    """The two ends of the range of Envoys that we support."""
    if request.param == "newest":
        return newest()
    if not oldest().exists():
        skip_or_fail("the oldest supported Envoy is not installed: run `make .envoys/oldest/.installed`")
    return oldest()


@pytest.fixture(scope="module")
def idp():
    """The provider of the tests of fronts: that of their policy, with their key."""
    with IdP([KEY]) as idp:
        yield idp


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A scripted authorizer and an echoing upstream with a real Envoy between them."""

    envoy: Envoy
    authz: ScriptedAuthz
    upstream: EchoUpstream

    def get(self, target: str | bytes, *headers: str | bytes, egress: bool = False, **parts) -> RawResponse:
        address = self.envoy.egress if egress else self.envoy.inbound
        return exchange(address, request(target, *headers, **parts))

    def reset(self) -> None:
        self.authz.reset()
        self.upstream.reset()


@pytest.fixture(scope="module")
def running_gate(envoy_binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        settings = settings_for((authz.endpoint,), upstream.address, folder)
        with Envoy(settings, folder, envoy_binary) as envoy:
            yield Gate(envoy=envoy, authz=authz, upstream=upstream)


@pytest.fixture
def gate(running_gate):
    running_gate.reset()
    return running_gate


@pytest.fixture(scope="module")
def running_stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def stack(running_stack):
    """Real Envoy, real `authz serve`, an echoing upstream; shared by the tests of a module that change none of them."""
    running_stack.reset()
    return running_stack


@pytest.fixture(scope="module")
def running_ways(envoy_binary, tmp_path_factory):
    """All ways out of the rendered Envoy, with a scripted authorizer and three servers."""
    with EgressSite(tmp_path_factory.mktemp("egress"), envoy_binary) as site:
        yield site


@pytest.fixture
def ways(running_ways):
    running_ways.reset()
    return running_ways


@pytest.fixture(scope="module")
def running_site(envoy_binary, tmp_path_factory):
    """A login at the rendered Envoy, with the demo's provider and a scripted authorizer."""
    with LoginSite(tmp_path_factory.mktemp("login"), envoy_binary) as site:
        yield site


@pytest.fixture
def site(running_site):
    running_site.reset()
    return running_site


@pytest.fixture
def browser(site):
    with site.browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def real_site(envoy_binary, tmp_path_factory):
    with LoginSite(tmp_path_factory.mktemp("real"), envoy_binary, real=True) as site:
        yield site
