"""`authz grant … --local`: writes the grants file as an account of the gate's machine.

Law: for operators who may write the file anyway. The policy's entries and their longest durations are checked as over
HTTP; an account of the machine has no roles, so who asks and who approves is not, and every event says which local
account it was. The workers follow the file, and one of them logs the event.
"""

import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path

from authz.cli.grant_gate import GateAnswer
from authz.cli.policy_files import PolicyFile
from authz.core import cases
from authz.core.errors import ConfigError, Problem
from authz.core.grants import (
    Actor,
    Caller,
    Event,
    Grant,
    Granted,
    GrantRefusedError,
    Ledger,
    Refusal,
    approve,
    described,
    end,
    request,
    view,
    visible,
)
from authz.core.policy import Policy, as_of
from authz.sessions.granter import Granter
from authz.sessions.grants_port import wanted
from authz.settings import load
from authz.system.clock import SystemClock

_STATUS = {Refusal.UNKNOWN: 404, Refusal.INVALID: 422, Refusal.TOO_LONG: 422}


class LocalGrants:
    """The grants file that settings name.

    Raises:
        ConfigError: the settings name none, or it cannot be used.
        PolicyError: the policy cannot be used.
    """

    def __init__(self, settings_path: Path) -> None:
        settings = load(settings_path)
        if not settings.grants.file:
            problem = Problem(str(settings_path), 0, 0, "`grants.file` is not set: this gate has no grants", "set it")
            raise ConfigError([problem])
        now = time.time()
        self._policy: Policy = as_of(cases.read(PolicyFile(Path(settings.policy)).bundle()).policy, now)
        self._caller = Caller(actor=Actor(local=_account()))
        self._granter = Granter(Granted(), Path(settings.grants.file), SystemClock(), announces=False)

    def request(self, entry: str, duration: str, reason: str, *, issuer: str, subject: str) -> GateAnswer:
        """Ask for an entry for another account; `issuer` is its issuer's name or `iss`."""
        issuers = self._policy.issuers
        of_name = {one.name: iss for iss, one in issuers.items()}
        iss = issuer if issuer in issuers else of_name.get(issuer)
        if iss is None:
            known = ", ".join(sorted(of_name))
            text = "no issuer of the policy has this name or `iss`"
            return GateAnswer(422, {"error": "invalid", "message": text, "hint": f"there is {known}"})
        holder = Actor(issuer=iss, subject=subject)

        def decide(ledger: Ledger, now: int) -> Event | Grant:
            draft = wanted(holder, entry=entry, duration=duration, reason=reason, at=now)
            return request(ledger, self._policy, self._caller, draft)

        return self._record(decide)

    def act(self, word: str, name: str) -> GateAnswer:
        """`approve` or `end` a grant."""
        decide = approve if word == "approve" else end
        return self._record(lambda ledger, now: decide(ledger, self._policy, self._caller, name, now))

    def list(self) -> GateAnswer:
        """All grants."""

        def shown(ledger: Ledger) -> GateAnswer:
            grants, entries = visible(ledger, self._policy, self._caller)
            members = {
                "grants": [view(grant, self._policy) for grant in grants],
                "entries": [described(entry) for entry in entries],
            }
            return GateAnswer(200, members)

        return self._granter.read(shown)

    def _record(self, decide: Callable[[Ledger, int], Event | Grant]) -> GateAnswer:
        try:
            _made, grant = self._granter.record(decide)
        except GrantRefusedError as error:
            members = {"error": error.refusal.value, "message": error.message, "hint": error.hint}
            return GateAnswer(_STATUS.get(error.refusal, 409), members)
        return GateAnswer(200, view(grant, self._policy))


def _account() -> str:
    """The name of the account that runs this: of the process, not of its environment."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
