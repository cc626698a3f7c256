"""How much is measured: the full run, the quick one, and a tiny one that a test runs to see that everything works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Counts of one run.

    `checks` go to a server in one round of one row, `fresh` of them with a token each that was not seen before.
    `seconds` is the time of one measurement through Envoy, `singles` the requests of an unloaded one.
    """

    name: str
    rounds: int
    checks: int
    fresh: int
    seconds: float
    singles: int
    starts: int
    cached_tokens: int


FULL = Plan(
    name="full", rounds=5, checks=20_000, fresh=2_900, seconds=4.0, singles=2_000, starts=5, cached_tokens=100_000
)
QUICK = Plan(
    name="quick", rounds=3, checks=4_000, fresh=1_000, seconds=1.0, singles=400, starts=2, cached_tokens=20_000
)
TINY = Plan(name="tiny", rounds=1, checks=200, fresh=60, seconds=0.2, singles=20, starts=1, cached_tokens=300)
PLANS = {plan.name: plan for plan in (FULL, QUICK, TINY)}
