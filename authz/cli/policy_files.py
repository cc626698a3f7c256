"""Which policy a command is about: a file, or `git:REVISION:PATH`, the same for every command.

Law: read-only. The files that a policy names come from where the policy is from: the disk, or the same revision.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from authz.cli import git_bundle
from authz.core.errors import PolicyError, Problem
from authz.core.policy import Bundle
from authz.ops.named_files import read_bundle

_GIT: Final = "git:"
_FILE: Final = click.Path(dir_okay=False, path_type=Path)
HELP: Final = "a file, or git:REVISION:PATH for the one of a Git revision"
"""What may be given wherever a command takes a policy, for `--help`."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The file of a policy, by its path from the folder that the command runs in; `revision` is "" for the disk."""

    path: Path
    revision: str = ""

    def __str__(self) -> str:
        return f"{_GIT}{self.revision}:{self.path}" if self.revision else str(self.path)

    def bundle(self) -> Bundle:
        """The policy file and the files that it names.

        Raises:
            ConfigError: Git has no such file in that revision.
            PolicyError: the file cannot be read.
        """
        if self.revision:
            return git_bundle.bundle_of(self.revision, str(self.path))
        try:
            return read_bundle(self.path)
        except OSError as error:
            hint = "name another one, or begin with `authz init`" if isinstance(error, FileNotFoundError) else ""
            raise PolicyError([Problem(str(self.path), 0, 0, f"cannot be read: {error.strerror}", hint)]) from None


class _PolicyType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """The type of an option or argument that names a policy."""

    name = "policy"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PolicyFile:
        """The policy file that a text names."""
        if isinstance(value, PolicyFile):
            return value
        if not str(value).startswith(_GIT):
            return PolicyFile(Path(_FILE.convert(value, param, ctx)))
        revision, _, path = str(value).removeprefix(_GIT).partition(":")
        if not path or not revision or revision.startswith("-"):
            self.fail(f"{value} is not git:REVISION:PATH, as git:main:policy.yaml", param, ctx)
        return PolicyFile(Path(path), revision)

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of files, as the shell completes them."""
        return [CompletionItem(incomplete, type="file")]


POLICY: Final = _PolicyType()
