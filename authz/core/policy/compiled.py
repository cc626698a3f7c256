"""The compiled policy: what every decision reads, frozen.

Law: after `load` nothing here changes and nothing can raise. A reload makes a new policy and swaps one reference. A
policy knows no time: what has an end is in force in it, until another policy without that takes its place
(`authz.core.policy.ends`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from authz.core.catalogue import Catalogue
from authz.core.model import Claims, HeldGrant, Identity, Issuer, Plane
from authz.core.policy.confines import Confines
from authz.core.policy.index import Index
from authz.core.policy.roles import Roster
from authz.core.policy.rules import NEVER, Grantable, Role, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The rules of one plane by effect."""

    deny: Index
    public: Index
    allow: Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy. `issuers` by `iss`, `rules` by id in the order of their ids, `revision` as SHA-256 in hex.

    `grantable` has what people may ask for, by id; `confines` what files of teams may say, by name.
    `end_mark` says that the policy file ended with one.
    `airflow_roles` maps each role to its role in Airflow itself; it omits roles that have none.

    Nothing may be decided by it at or after the time `valid_until`, in seconds since the epoch: the first end of
    anything in it. What had ended at the time `since` is left out; `ended` are the rules among that. `edition` is equal
    for equal policies: the revision, and where something has ended, `since`.
    """

    file: str
    revision: str
    end_mark: bool = False
    catalogue: Catalogue = field(repr=False)
    issuers: Mapping[str, Issuer]
    roles: Mapping[str, Role] = field(repr=False)
    rules: Mapping[str, Rule] = field(repr=False)
    grantable: Mapping[str, Grantable] = field(repr=False)
    confines: Mapping[str, Confines] = field(repr=False)
    airflow_roles: Mapping[str, str] = field(repr=False)
    roster: Roster = field(repr=False)
    gates: Mapping[Plane, Gate] = field(repr=False)
    edition: str
    valid_until: float = NEVER
    since: float = -NEVER
    ended: tuple[Rule, ...] = field(default=(), repr=False)

    @property
    def ended_in_part(self) -> bool:
        """Whether a rule or a member of a role is left out because it has ended."""
        return self.since > -NEVER

    def place_of(self, what: Rule | Role) -> tuple[str, int, int]:
        """The file that has a rule or a role, the line and the column."""
        other = what.file if isinstance(what, Rule) else ""
        return other or self.file, what.line, what.column

    def where(self, what: Rule | Role) -> str:
        """The same as people write it: file, line and column with `:` between them."""
        return ":".join(map(str, self.place_of(what)))

    def identify(self, claims: Claims, grants: tuple[HeldGrant, ...] = ()) -> Identity:
        """The identity for the verified claims: roles, whether an agent, and the role in Airflow itself.

        `grants` are those that the token's issuer and subject hold. Those count that the policy permits; where all do,
        the identity has this very tuple twice.
        """
        counting = tuple(filter(self.permits, grants)) if grants else grants
        return self.roster.identify(claims, grants if len(counting) == len(grants) else counting, grants)

    def permits(self, grant: HeldGrant) -> bool:
        """Whether a grant counts: the policy has its entry, and permits its duration and how it was approved."""
        entry = self.grantable.get(grant.entry)
        return entry is not None and grant.seconds <= entry.longest and (grant.is_approved or not entry.approvers)
