"""The database of a new Airflow for tests: migrated once, then copied, for a migration takes some ten seconds of CPU.

It is kept in `build/`, by the locks of what made it and by the auth manager (FAB has tables of its own). It holds no
secret: a site's keys come from its environment, and encrypt nothing that a migration writes.
"""

import fcntl
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[3]
LOCKS = ("requirements/all.lock", "requirements/fab.lock")


def new_database(place: Path, auth_manager: str, migrate: Callable[[], object]) -> None:
    """Put a new database at `place`; `migrate` makes one there, if none has been made yet."""
    made_by = sha256(b"".join((ROOT / lock).read_bytes() for lock in LOCKS)).hexdigest()[:12]
    kept = ROOT / "build" / f"airflow-{auth_manager}-{made_by}.db"
    kept.parent.mkdir(exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test processes wait, and copy then
        if not kept.exists():
            migrate()
            draft = kept.with_suffix(".draft")
            shutil.copyfile(place, draft)
            draft.replace(kept)
            return
    shutil.copyfile(kept, place)
