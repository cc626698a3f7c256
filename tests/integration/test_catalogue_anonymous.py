"""security.md d-26 on the running Airflow: what somebody without any credential reaches, route by route.

Every route of the catalogue, and every route that is left out of it, is asked for with every method: at Airflow's own
port (with our auth manager), and, where the README's policy lets nobody in particular pass, behind the gate. All that
is answered otherwise than with 401, 403, 404 and 405 stands in a golden file. A change of it must be wanted:
`python -m tests.integration.test_catalogue_anonymous` writes it anew.
"""

import re
import sys
import tempfile
from pathlib import Path

import pytest

from authz.core import catalogue, policy
from authz.core.decision import decide
from authz.core.model import Allow, Plane, Request
from authz.core.request.path import canonicalise
from tests.support.sites.airflow import AirflowSite, empty_dags

pytestmark = pytest.mark.timeout(180)
GOLDEN = Path(__file__).with_name("anonymous_airflow.txt")
README = Path(__file__).parents[2] / "README.md"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Paths of no route of this Airflow: it answers a GET of them with the UI's page, which holds no data.
INDEX_PAGES = {"/x", "/pluginsv2/x", "/ui/auth/token"}
# Pages of the UI that show a single thing: Airflow gives the page to anyone, the gate to those who may read the thing.
PAGES_OF_ONE_THING = {
    *("/configs", "/connections", "/jobs", "/plugins", "/pools", "/providers", "/variables"),
    *("/dags/alpha_one", "/dags/alpha_one/x"),
}
CLOSED = {401, 403, 404, 405}


def paths():
    """A path of each route; the DAG, where one is named, exists."""
    known = catalogue.load("3.3")
    templates = [route.template for operation in known.operations.values() for route in operation.routes]
    templates += [record.template for record in known.left_out]
    filled = (re.sub(r"\{[^}]*\}", "x", template.replace("{dag_id}", "alpha_one")) for template in templates)
    return sorted(dict.fromkeys(filled))


def readme_policy():
    found = re.search(r"`policy\.yaml`[^`]*:\n\n```yaml\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return policy.load(policy.Bundle(found[1].encode(), "policy.yaml"))


def passes(rules, method, target):
    path = canonicalise(target)
    request = Request(
        plane=Plane.INBOUND, method=method, host="gate.test", port=None, path=path.path, segments=path.segments
    )
    return isinstance(decide.evaluate(request, None, rules), Allow)


def surface(site):
    """Lines `bare|gate METHOD path status`."""
    rules = readme_policy()
    with site.client() as nobody:
        for path in paths():
            for method in METHODS:
                status = nobody.request(method, path).status_code
                behind = ["gate"] if passes(rules, method, path) else []
                for where in ["bare", *behind]:
                    if status not in CLOSED:
                        yield f"{where} {method} {path} {status}"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("airflow")
    with AirflowSite(folder, dags={"alpha": empty_dags("alpha_one")}) as site:
        return list(surface(site))


def test_d26_what_an_anonymous_caller_reaches_is_the_agreed_list(found):
    assert found == GOLDEN.read_text().splitlines()


def test_d26_anonymous_callers_only_read_and_only_public_routes_and_the_listed_pages(found):
    known = catalogue.load("3.3")
    not_public = set()
    for line in found:
        _where, method, path, _status = line.split()
        assert method in {"GET", "HEAD"}
        route = known.match(canonicalise(path).segments, method)
        if route is None or not known.operations[route.operation].public:
            not_public.add(path)
    assert not_public == INDEX_PAGES | PAGES_OF_ONE_THING


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        AirflowSite(Path(folder), dags={"alpha": empty_dags("alpha_one")}) as running,
    ):
        GOLDEN.write_text("".join(f"{line}\n" for line in surface(running)))
    sys.stdout.write(f"wrote {GOLDEN}\n")
