"""Our side: the policy engine with a policy of nothing but the four built-in roles, asked the very same requests."""

from collections.abc import Mapping

from authz.core.catalogue import Catalogue
from authz.core.decision.decide import evaluate
from authz.core.model import Allow
from authz.core.policy import BUILT_IN
from tests.parity.asks import PEOPLE, Person, ask, asked_routes
from tests.support.factories.policies import claims, request
from tests.support.factories.policies import load as load_policy

ROLES = "".join(f"\n  {name}: {{groups: [{role}]}}" for name, role in BUILT_IN.items()) + "\n"


class AnyId(Mapping[str, str]):
    """Ids for whoever only needs some: what Airflow chose makes no difference to us."""

    def __getitem__(self, key: str) -> str:
        return "1"

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


def verdicts(catalogue: Catalogue) -> dict[tuple[str, str], bool]:
    """Whether we allow: (who, route) → bool."""
    policy = load_policy(roles=ROLES, top=f'version: 1\nairflow: "{catalogue.version}"')
    found = {}
    for who in PEOPLE:
        identity = None if who == "nobody" else policy.identify(claims(groups=[who]))
        for (method, template), operation in asked_routes(catalogue).items():
            asked = ask(method, template, Person(who, AnyId()))
            decision = evaluate(request(asked.method, asked.url), identity, policy)
            assert decision.operation == operation, (method, template, asked.url, decision)
            found[who, f"{method} {template}"] = isinstance(decision, Allow)
    return found
