"""What a command answers for: a policy, and with `--settings` all that the gate with these settings would serve.

Law: with settings the policy is theirs, whatever folder the command runs in; a different one beside them is an error,
never a silent choice. Both files are read once per command, by the server's own loaders.
"""

import os
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from authz.cli.policy_files import PolicyFile
from authz.core import cases
from authz.core.cases.invariants import over_time
from authz.core.cases.judge import Judge
from authz.core.cases.known import Known
from authz.core.errors import PolicyError
from authz.core.lint.egress_map import WaysOut
from authz.core.policy import Policy, as_of
from authz.core.tokens import MAX_TOKEN_BYTES

if TYPE_CHECKING:
    from authz.settings import Settings
    from authz.settings.inbound import Upstream

_POLICY: Final = PolicyFile(Path("policy.yaml"))


@dataclass(frozen=True, kw_only=True)
class Served:
    """A policy as it is at the time `at`, and the settings that it is served with; None if no settings were given.

    `refused` says why a gate would not serve the policy, though it can be asked; "" if it would.
    """

    policy: Policy
    at: float
    refused: str = ""
    settings: "Settings | None" = None
    ways: WaysOut | None = None

    @cached_property
    def known(self) -> Known:
        """The names that the policy knows."""
        return Known(self.policy)

    @property
    def upstreams(self) -> "tuple[Upstream, ...]":
        """The Airflows behind Envoy, if the settings name them."""
        envoy = self.settings.envoy if self.settings is not None else None
        return envoy.inbound.upstreams if envoy is not None and envoy.inbound is not None else ()

    @property
    def token_bytes(self) -> int:
        """The maximum length of a token."""
        return MAX_TOKEN_BYTES if self.settings is None else self.settings.limits.token_bytes

    def upstream(self, host: str) -> "Upstream | None":
        """The Airflow that Envoy routes a host to: by the host itself, then the longest suffix, then `*`."""
        fitting = [
            (name == host, len(name), position)
            for position, upstream in enumerate(self.upstreams)
            for name in upstream.hosts
            if name in {host, "*"} or (name.startswith("*.") and host.endswith(name[1:]))
        ]
        return self.upstreams[max(fitting)[2]] if fitting else None


def served(
    policy_path: PolicyFile | None,
    settings_path: Path | None,
    gate: str = "",
    *,
    at: float | None = None,
    airflow: str = "",
) -> Served:
    """Both files, read; the policy as it is at a time, in seconds since the epoch, by default now.

    `airflow` is the version in place of the policy's own, or "". `gate` is the URL of a running gate's operators' port
    that must serve the policy, or "".

    Raises:
        FetchError: the gate cannot be asked.
        ConfigError, PolicyError: with every problem of a file, or of the two together: the gate would refuse them too.
        UsageError: the policy is not that of the settings.
    """
    settings = load_settings(settings_path)
    bundle = replace(policy_of(policy_path, settings_path, settings).bundle(), airflow=airflow)
    suite = cases.read(bundle)
    if gate:
        from authz.cli.running_gate import require_served  # noqa: PLC0415 only where a gate is asked

        require_served(suite.policy, gate)
    at = time.time() if at is None else at
    policy, failing = as_of(suite.policy, at), _failing(suite)
    if settings is None:
        return Served(policy=policy, at=at, refused=failing)
    from authz.serve.agreement import mistakes, ways_out  # noqa: PLC0415 pydantic costs start-up time that others need not pay

    if refused := mistakes(suite.policy, settings, str(settings_path), suite.never):
        raise PolicyError(refused)
    return Served(policy=policy, at=at, refused=failing, settings=settings, ways=ways_out(settings, str(settings_path)))


def _failing(suite: cases.Suite) -> str:
    """A note on a policy that contradicts itself: it can be asked, because its author looks for the cause."""
    judge = Judge(suite.policy)
    if any(judge.run(case).wrong for case in suite.cases):
        return "a gate refuses this policy, because its tests fail: see `authz test`"
    if any(proof.violations for proof in over_time(suite.policy, suite.never)):
        return "a gate refuses this policy, because an entry of `never` does not hold: see `authz test`"
    return ""


def policy_of(given: PolicyFile | None, settings_path: Path | None, settings: "Settings | None") -> PolicyFile:
    """The policy that is meant: with settings theirs, of the revision that is given, and as it is written there.

    Raises:
        UsageError: the policy is not that of the settings.
    """
    if settings is None:
        return given or _POLICY
    theirs = Path(settings.policy)
    if given is not None and given.path.resolve() != theirs.resolve():
        raise click.UsageError(
            f"{settings_path} serves the policy {theirs}, and {given} is another file:"
            " leave the policy out, or the settings"
        )
    as_given = given is not None and (given.revision or _is_in_same_place(given.path, theirs))
    return given if given is not None and as_given else PolicyFile(theirs)


def load_settings(path: Path | None) -> "Settings | None":
    """The settings of a file, or None for no file. Paths below the current folder are relative to it, as in reports.

    Raises:
        ConfigError: with every problem of the file.
    """
    if path is None:
        return None
    from authz import settings as files  # noqa: PLC0415 pydantic costs start-up time that others need not pay

    return files.named_files.rewritten(files.load(path), from_here)


def from_here(path: str) -> str:
    """An absolute path as people write it in the current folder: relative to it, if it begins with it.

    `conf/../policy.yaml` is `policy.yaml`, but not where `conf` is a link to a folder elsewhere.
    """
    here = Path.cwd()
    if here not in Path(path).parents:
        return path
    written = Path(path).relative_to(here)
    plain = Path(os.path.normpath(written))
    return str(plain if _is_in_same_place(plain, written) else written)


def _is_in_same_place(one: Path, other: Path) -> bool:
    """Whether both are the same name in the same folder, so that the files that a policy names are the same too."""
    return one.name == other.name and one.parent.resolve() == other.parent.resolve()
