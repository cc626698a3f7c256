"""What the sections of the settings file must agree on, where no section can see it alone.

Law: pure; every disagreement is found, and named by the key to change. A key that would have no effect, or with which
every check would fail, is refused: nobody finds out later what was silently left out.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from authz.settings import Settings


class Disagreement(NamedTuple):
    """The key (its path in the file), what is wrong, and what to do."""

    loc: tuple[str | int, ...]
    text: str
    hint: str


def disagreements(settings: "Settings") -> Iterator[Disagreement]:
    """Everything that does not fit together."""
    yield from _keys_come_while_a_check_waits(settings)
    yield from _envoy_speaks_as_the_gate_listens(settings)


def _keys_come_while_a_check_waits(settings: "Settings") -> Iterator[Disagreement]:
    """A check with a new key id may have to wait for the interval to end, and then for the fetch."""
    if settings.keys.min_interval >= settings.limits.wait:
        yield Disagreement(
            ("keys", "min_interval") if "min_interval" in settings.keys.model_fields_set else ("limits", "wait"),
            "`keys.min_interval` must be less than `limits.wait`: a check would give up before the key is fetched",
            f"less than {settings.limits.wait:g}s, or raise `limits.wait`",
        )


def _envoy_speaks_as_the_gate_listens(settings: "Settings") -> Iterator[Disagreement]:
    """The gate's TLS, and what Envoy knows of it."""
    envoy, tls = settings.envoy, settings.tls
    if envoy is None:
        return
    if tls is None:
        for key in ("authz_tls_ca", "authz_tls_name", "authz_tls_certificate", "authz_tls_key"):
            if key in envoy.model_fields_set and getattr(envoy, key) is not None:
                yield Disagreement(("envoy", key), f"`{key}` has no effect without `tls`", "set `tls`, or remove it")
    elif tls.client_ca is not None and envoy.authz_tls_certificate is None:
        yield Disagreement(
            ("tls", "client_ca"),
            "`tls.client_ca` wants a certificate of Envoy, and Envoy has none: every check would be answered 503",
            "set `envoy.authz_tls_certificate` and `envoy.authz_tls_key`",
        )
