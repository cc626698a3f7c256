"""What a policy claims about itself: `tests` become requests and callers, which the server's own engine decides.

Law: pure, and nothing here decides (`authz.core.decision.decide` does). Every load runs the tests: a policy that one of
them contradicts is refused like one with a mistake. `authz.core.proof` proves the entries of `never`, with the same
consequences. A test depends on the policy alone, never on settings, time or
keys, so that it passes or fails alike in a pull request and in the gate.
"""

from authz.core.cases.load import Suite, load, read, read_rules, read_with
from authz.core.cases.settle import Fault, Settled, good_parts, settled

__all__ = ["Fault", "Settled", "Suite", "good_parts", "load", "read", "read_rules", "read_with", "settled"]
