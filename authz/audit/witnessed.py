"""Checkpoints that witnesses have cosigned: the one in the log's folder, and those that the witnesses show.

Law 1: cosignatures count only for keys that the reader brings. Without any, it is a checkpoint that the log signed, and
no more.
Law 2: who can change the folder can put back an older witnessed checkpoint together with an older log. What came after
its cosignatures only the witnesses know: they are asked.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.audit.layout import WITNESSED
from authz.audit.signing import read_signed
from authz.audit.verifying import Older
from authz.core.audit import checkpoint
from authz.core.audit.checkpoint import Trust
from authz.core.audit.keys import VerifierKey
from authz.core.audit.note import MOST_BYTES
from authz.core.audit.witness import checkpoint_path
from authz.core.errors import AuditBrokenError
from authz.core.loopback import names_loopback
from authz.core.urls import Url
from authz.fetching.download import ANYTHING, Downloader, Reach, default_tls
from authz.fetching.guard import Deadline, system_resolver
from authz.fetching.limits import Limits
from authz.system.regular_file import read_regular

_LIMITS: Final = Limits(timeout_s=10.0, max_bytes=MOST_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The keys of a log, those of witnesses, and how many of these must have cosigned a checkpoint; 0 for none."""

    keys: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int = 0

    def trust(self, key: VerifierKey) -> Trust:
        """The demand, of a checkpoint that this key of the log signed.

        Raises:
            ValueError: see `Trust`.
        """
        return Trust(log=key, witnesses=self.witnesses, quorum=self.quorum)

    def trust_in(self, signed: bytes) -> Trust:
        """The demand, of a checkpoint in a signed note: of the key that signed it.

        Raises:
            AuditBrokenError: it is malformed, or none of the log's keys has signed it.
            ValueError: see `Trust`.
        """
        return self.trust(min(read_signed(signed, self.keys)[1], key=str))


def read(data: bytes, demand: Demand, path: Path | str) -> Older:
    """The checkpoint in a note, if it is as demanded.

    Raises:
        AuditBrokenError: it is not.
        ValueError: see `Trust`.
    """
    verified = checkpoint.verify(data, demand.trust_in(data))
    return Older(path=path, head=verified.checkpoint, cosigned=verified.cosigned)


def kept(folder: Path, demand: Demand) -> Older | None:
    """The witnessed checkpoint in a log's folder; None if there is none and none is demanded.

    Raises:
        AuditBrokenError: it is not as demanded, or missing.
        OSError: it cannot be read.
        ValueError: see `Trust`.
    """
    path = folder / WITNESSED
    try:
        return read(read_regular(path, MOST_BYTES), demand, path)
    except FileNotFoundError:
        if not demand.quorum:
            return None
        raise AuditBrokenError(f"{path} is missing: no quorum has cosigned the log, or it was removed") from None
    except AuditBrokenError as error:
        raise AuditBrokenError(f"{path}: {error}") from None


def ask(prefix: Url, origin: str, demand: Demand) -> Older:
    """The last checkpoint of the log that a witness shows below this URL, its monitoring prefix.

    Raises:
        FetchError: it does not answer with one.
        AuditBrokenError: it is not signed by the log, or not cosigned by one of the witnesses.
        ValueError: see `Trust`.
    """
    url = Url.parse(prefix.origin + prefix.path.rstrip("/") + checkpoint_path(origin))
    reach = Reach(insecure_http=False, loopback=names_loopback(url.host))
    downloader = Downloader(limits=_LIMITS, tls=default_tls(), resolver=system_resolver)
    data = downloader.get(url, reach=reach, deadline=Deadline(_LIMITS.timeout_s), accept=ANYTHING).data
    one = Demand(keys=demand.keys, witnesses=demand.witnesses, quorum=1)
    return read(data, one, str(url))
