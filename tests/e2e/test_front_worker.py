"""scratch"""
import pytest
from tests.e2e.front_site import HOST, KEY, FrontSite
from tests.support.simulators.idp import IdP
from tests.e2e.test_fronts import *  # noqa

pytestmark = pytest.mark.e2e

@pytest.fixture(scope="module")
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture(scope="module")
def running(idp, tmp_path_factory):
    with FrontSite(tmp_path_factory.mktemp("worker"), idp, "worker") as site:
        yield site

@pytest.fixture
def site(running):
    running.upstream.reset()
    return running
