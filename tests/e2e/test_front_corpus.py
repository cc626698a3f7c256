"""One corpus, all fronts: seeded raw requests through each front, with its real gate, into one real Airflow.

The oracle is what Airflow was sent (a tap keeps the bytes), which of its routes answered (its own word), and the gate's
record. `FRONT_CORPUS_SEED` and `FRONT_CORPUS` name another seed and another number of requests.
"""

import os
import time
from collections import Counter

import jwt
import pytest

from authz.core.edge import ASSERTION, DECISION, IDENTITY_HEADERS
from authz.core.errors import RequestError
from authz.core.request.path import canonical_host, canonicalise
from scripts import fronts_table
from tests.e2e import front_corpus_run, front_guarantees
from tests.e2e.front_corpus_site import FRONTS, NAMED, OPEN, RULES, CorpusAirflow, CorpusSite, is_named, wanted
from tests.e2e.front_site import KEY
from tests.e2e.front_words import FORGED, IDENTITIES
from tests.support.simulators.idp import IdP

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
SEED = os.environ.get("FRONT_CORPUS_SEED", "20261130")
STANDARD = 3_000
COUNT = wanted(STANDARD)
FLOORS = {"served": 500, "denied": 500, "refused": 200}
CREDENTIALS = ("authorization", "cookie", "proxy-authorization")


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    with CorpusAirflow(tmp_path_factory.mktemp("airflow")) as site:
        yield site


@pytest.fixture(scope="module", params=FRONTS)
def report(request, airflow, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    began = time.monotonic()
    with IdP([KEY]) as idp, CorpusSite(folder, idp, request.param, airflow) as site:
        made = front_corpus_run.run(site, SEED, COUNT)
        made.found = front_guarantees.found(site)
    seconds = time.monotonic() - began
    print(f"{made.name}: seed {SEED}, {len(made.outcomes)} requests in {seconds:.0f} s: {made.counts}")  # noqa: T201
    return made


def test_the_corpus_asks_enough_of_each_front(report):
    assert len(report.outcomes) >= COUNT
    short = {
        kind: report.counts[kind] for kind, floor in FLOORS.items() if report.counts[kind] < floor * COUNT // STANDARD
    }
    of_callers = Counter(one.sent.caller for one in report.outcomes)
    assert short == {}, f"{report.name}: too few to mean anything, of {report.counts} and callers {of_callers}"
    assert {*RULES} < {*of_callers}
    allowing = Counter(record["rule"] for one in report.arrived if (record := report.record(one)))
    assert {*allowing} == {*NAMED}, "a rule of the policy allowed nothing"


def test_whatever_arrives_is_one_of_the_requests(report):
    for one in report.arrived:
        assert report.number(one) in report.corpus.callers, f"nobody sent this{report.shown(one)}"


def test_what_arrives_can_be_read_in_one_way_only(report):
    assert report.untidy == [], f"{report.name} sent on what two parsers may read differently"


def test_denied_is_never_served(report):
    for one in report.arrived:
        outcome = report.by_number.get(report.number(one))  # None: hidden in another one, or what follows that
        record = report.record(one)
        assert record.get("decision", "allow") == "allow", f"Airflow was sent what the gate denied{report.shown(one)}"
        if outcome is None or outcome.answer is None:
            continue
        assert not report.denies(outcome), f"the caller was refused, and Airflow asked{report.shown(one)}"
        if outcome.decision is None:  # the front's own answer: only where it failed after an allow
            assert outcome.answer.status in {413, 502, 503, 504}, f"refused by the front, and served{report.shown(one)}"


def test_every_served_request_has_a_record_of_its_own(report):
    decisions = Counter()
    for one in report.arrived:
        assert len(one.request.all(DECISION)) == 1, f"not one decision{report.shown(one)}"
        assert report.record(one), f"no record{report.shown(one)}"
        [decision] = one.request.all(DECISION)
        outcome = report.by_number.get(report.number(one))
        if outcome and outcome.decision:
            assert outcome.decision == decision, f"the caller was given the id of another decision{report.shown(one)}"
        decisions[decision] += 1
        assert decisions[decision] == 1, f"one decision for two requests{report.shown(one)}"


def test_served_is_what_the_allowing_rule_names(report):
    for one in report.arrived:
        record = report.record(one)
        caller = report.corpus.callers.get(report.number(one))
        assert record.get("rule") in RULES.get(caller, OPEN), f"this caller has no such rule{report.shown(one)}"
        assert is_named(record["rule"], one), f"the rule {record['rule']} does not name this{report.shown(one)}"


def test_served_is_what_was_recorded(report):
    for one in report.arrived:
        record, [host] = report.record(one), one.request.all("host")
        assert one.request.method == record.get("method"), f"another method{report.shown(one)}"
        assert canonical_host(host)[0] == record.get("host"), f"another host{report.shown(one)}"
        assert canonical(one.request.target) == record.get("path"), f"another path{report.shown(one)}"


def canonical(target):
    try:
        return canonicalise(target).path
    except RequestError as error:
        return str(error)


def aliased(name):
    """The name as the laxest server behind reads it. WSGI reads `_` as `-`, CGI all that is no letter."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def test_no_identity_of_a_callers_arrives(report):
    positions = {*IDENTITIES, *CREDENTIALS}
    for one in report.arrived:
        trailers = [line.partition(":") for line in one.request.trailers.decode("latin-1").split("\r\n") if line]
        lines = [*one.request.headers, *((name, value) for name, _, value in trailers)]
        given = [(name, value) for name, value in lines if aliased(name) in positions]
        assert [value for _, value in given if FORGED in value] == [], f"a forged identity arrived{report.shown(one)}"
        assert [name for name, _ in given if name not in positions] == [], f"an alias arrived{report.shown(one)}"
        assert [name for name, _ in given if aliased(name) == "authorization"] == [], f"a credential{report.shown(one)}"
        often = Counter(aliased(name) for name, _ in given if name != "cookie")  # Envoy passes on those of other pages
        doubled = [name for name, many in often.items() if many > 1]
        assert doubled == [], f"an identity header arrived twice{report.shown(one)}"


def test_what_arrives_says_who_the_record_says(report):
    for one in report.arrived:
        record = report.record(one)
        assertions = one.request.all(ASSERTION)
        caller = report.corpus.callers.get(report.number(one))
        assert len(assertions) == bool(record.get("subject")) == (caller in RULES), f"whose is it?{report.shown(one)}"
        said = {name: one.request.all(name) for name in IDENTITY_HEADERS if one.request.all(name)}
        assert said or not assertions, f"an assertion alone{report.shown(one)}"
        for text in assertions:
            claims = jwt.decode(text, options={"verify_signature": False})
            assert claims["sub"] == record.get("subject") == "id-ann", f"another subject{report.shown(one)}"


def test_what_differs_is_what_the_table_of_the_docs_says(report):
    """`FRONT_TABLE=write` writes it: `make fronts-table`."""
    if os.environ.get("FRONT_TABLE") == "write":
        fronts_table.write(report.name, SEED, len(report.outcomes), report.counts, report.found)
    told = fronts_table.runs()
    assert report.name in told, f"docs/fronts.md has no {report.name}: make fronts-table ONLY={report.name}"
    assert report.found == told[report.name].found, f"docs/fronts.md is not true: make fronts-table ONLY={report.name}"
