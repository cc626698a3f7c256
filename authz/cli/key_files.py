"""Which keys the files of a policy's issuers have, so that two policies can be compared by their contents.

Law: read-only. A file is read from where its policy was: the disk, or a revision of a Git repository.
"""

from hashlib import sha256
from pathlib import Path, PurePath

from authz.cli.git_bundle import content
from authz.core.errors import ConfigError
from authz.core.policy import Policy
from authz.core.proof.conditions import KeyFiles


def key_files(policy: Policy, revision: str = "") -> KeyFiles:
    """For each issuer with a key file, the digest of the content; or the file's place, if it cannot be read.

    `revision` is where the policy is from, "" for the disk. An absolute path is always one on the disk.
    """
    named = {url: issuer.jwks_file for url, issuer in policy.issuers.items() if issuer.jwks_file is not None}
    return {url: _of(file, "" if PurePath(file).is_absolute() else revision) for url, file in named.items()}


def _of(file: str, revision: str) -> str:
    try:
        data = content(revision, file) if revision else Path(file).read_bytes()
    except (ConfigError, OSError):
        return f"{revision}:{file}" if revision else str(Path(file).absolute())
    return sha256(data).hexdigest()
