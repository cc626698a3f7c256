"""tests/cases/*.yaml: policies and what they must answer, judged by the product's own loader and engine."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

from authz.core import policy
from authz.core.decision.decide import evaluate
from authz.core.decision.explain import explain
from authz.core.documents import yaml_document
from authz.core.model import Allow
from authz.core.reasons import Reason
from tests.support.factories.policies import claims, identity, request, run

CASES = Path(__file__).parents[3] / "cases"


class Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Who(Section):
    groups: tuple[str, ...] = ()
    client: str = ""
    subject: str = "s-1"
    issuer: str = "corp"


class Calls(Section):
    """A run; with `client` one that a service account asserts."""

    dag: str
    task: str
    identity: Literal["verified", "verified-bearer", "asserted"] = "verified"
    client: str = ""


class Case(Section):
    who: str
    request: str
    plane: Literal["inbound", "egress"] = "inbound"
    host: str = "airflow.example.com"
    destination: str = ""
    allow: str = ""
    deny: str = ""
    by: str = ""


class CaseFile(Section):
    policy: str
    who: dict[str, Who | Calls | None]
    cases: tuple[Case, ...]


def identity_of(who, loaded):
    if isinstance(who, Calls):
        account = loaded.identify(claims(client=who.client)) if who.client else identity()
        return replace(account, run=run(who.dag, who.task, who.identity))
    return None if who is None else loaded.identify(claims(**who.model_dump()))


def each_case():
    for path in sorted(CASES.glob("*.yaml")):
        found, problems = yaml_document.validate(yaml_document.parse(path.read_bytes(), path.name), CaseFile)
        assert found is not None, problems
        used = CASES / found.policy
        loaded = policy.load(policy.Bundle(used.read_bytes(), str(used)))
        for case in found.cases:
            name = f"{path.stem}: {case.who} {case.request} {case.plane} {case.destination or case.host}"
            who = identity_of(found.who[case.who], loaded)
            yield pytest.param(loaded, who, case, id=name)


@pytest.mark.parametrize(("loaded", "who", "case"), list(each_case()))
def test_case(loaded, who, case):
    method, target = case.request.split(" ")
    asked = request(method, target, plane=case.plane, host=case.host, destination=case.destination)
    decision = evaluate(asked, who, loaded)
    if case.allow:
        assert isinstance(decision, Allow)
        assert decision.rule == case.allow
    else:
        assert not isinstance(decision, Allow)
        assert (decision.reason, decision.rule) == (Reason(case.deny), case.by)
    assert explain(asked, who, loaded).decision == decision
