"""The HTTP filters of a connection manager: where the check is, what can switch it off, what comes after it.

Law: a filter after the check is fine only if it is in the list of those that change nothing of a request. An ext_authz
filter inside another one is not a check, because that one decides whether it runs.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from authz.core.doctor.envoy_config import Envoy
from authz.core.doctor.kinds import Finding
from authz.core.doctor.tree import Node, Typed, every, is_set, items, label, message, path, pick, text, truth, typed

_CACHES: Final = ("cache", "cache_v2")
_FAMILY: Final = re.compile(r"\.filters\.http\.([a-z0-9_]+)\.")
# After the check they change neither the request nor its route; those of the last line add what the upstream asks for.
_HARMLESS: Final = frozenset(
    {
        *("router", "upstream_codec", "rbac", "ext_authz", "dynamic_forward_proxy", "cors", "csrf", "buffer"),
        *("file_system_buffer", "compressor", "decompressor", "gzip", "fault", "ratelimit", "local_ratelimit"),
        *("rate_limit_quota", "bandwidth_limit", "bandwidth_share", "admission_control", "adaptive_concurrency"),
        *("grpc_stats", "health_check", "geoip", "set_filter_state", "set_metadata", "kill_request"),
        *("stateful_session", "custom_response", "alternate_protocols_cache", "tap", "cdn_loop", "original_src"),
        *("credential_injector", "aws_request_signing", "gcp_authn"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFilter:
    """One HTTP filter: the key of its per-route settings, its message, and whether routes must enable it."""

    name: str
    typed: Typed
    disabled: bool

    @property
    def is_check(self) -> bool:
        """Whether it asks an authorizer."""
        return self.typed.is_a("http.ext_authz", "ExtAuthz")

    @property
    def is_login(self) -> bool:
        """Whether it is Envoy's login."""
        return self.typed.is_a("http.oauth2", "OAuth2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The HTTP filters of a connection manager, or those of one of its upgrades."""

    where: str
    filters: tuple[HttpFilter, ...]

    @property
    def checks(self) -> list[HttpFilter]:
        """The filters that ask an authorizer."""
        return [one for one in self.filters if one.is_check]

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [one.name for one in self.checks]


def chains(envoy: Envoy, manager: Node, where: str) -> tuple[list[Chain], list[str]]:
    """The filter chains of a connection manager, and what cannot be seen of them. An upgrade may have its own."""
    unseen: list[str] = []
    found = [Chain(where=where, filters=_filters(envoy, items(manager, "http_filters"), unseen))]
    for upgrade in items(manager, "upgrade_configs"):
        if filters := items(upgrade, "filters"):
            place = f"{where}, upgrade `{label(text(upgrade, 'upgrade_type'))}`"
            found.append(Chain(where=place, filters=_filters(envoy, filters, unseen)))
    return found, unseen


def _filters(envoy: Envoy, filters: Sequence[Any], unseen: list[str]) -> tuple[HttpFilter, ...]:
    found = []
    for one in filters:
        name, config = text(one, "name"), pick(one, "typed_config")
        if pick(one, "config_discovery") is not None:
            config = pick(envoy.filters.get(name), "typed_config") or path(one, "config_discovery", "default_config")
            if name not in envoy.filters:
                unseen.append(f"the filter `{label(name)}` comes from elsewhere (ECDS)")
        made = HttpFilter(name=name, typed=typed(config), disabled=truth(pick(one, "disabled")))
        if not made.typed.kind and name != "envoy.filters.http.router":
            unseen.append(f"the filter `{label(name)}` has no type")
        found.append(made)
    return tuple(found)


def findings(envoy: Envoy, chain: Chain) -> Iterator[Finding]:
    """What is wrong with the check of a chain itself, and with what follows it."""
    for check in chain.checks:
        yield from _check(envoy, check, chain.where)
    for one in chain.filters:
        if not one.is_check and any(typed(node).is_a("http.ext_authz", "ExtAuthz") for node in every(one.typed.config)):
            yield Finding(id="check-conditional", where=chain.where, text=f"ext_authz is inside `{label(one.name)}`")
    yield from _before(chain)
    yield from _after(chain)


def _before(chain: Chain) -> Iterator[Finding]:
    """Filters in front of the last check that answer in the upstream's place, from what others were given."""
    positions = [number for number, one in enumerate(chain.filters) if one.is_check]
    for one in chain.filters[: positions[-1]] if positions else ():
        family = _FAMILY.search(one.typed.kind)
        if family is not None and family[1] in _CACHES:
            text_ = f"`{label(one.name)}` comes before the check"
            yield Finding(id="cached-before-check", where=chain.where, text=text_)


def _check(envoy: Envoy, check: HttpFilter, where: str) -> Iterator[Finding]:
    config = check.typed.config
    for name, finding in (("failure_mode_allow", "check-fails-open"), ("shadow_mode", "check-shadowed")):
        if truth(pick(config, name)):
            yield Finding(id=finding, where=where, text=f"`{label(check.name)}` has `{name}`")
    switches = [name for name in ("filter_enabled", "filter_enabled_metadata") if pick(config, name) is not None]
    if switches and not _denies_when_off(envoy, message(config, "deny_at_disable")):
        yield Finding(id="check-switchable", where=where, text=f"`{switches[0]}` without `deny_at_disable`")
    elif switches and envoy.runtime_elsewhere and text(config, "deny_at_disable", "runtime_key"):
        yield Finding(id="not-seen", where=where, text="a runtime layer that is elsewhere can change `deny_at_disable`")
    if truth(pick(config, "clear_route_cache")):
        yield Finding(
            id="changed-after-check", where=where, text="`clear_route_cache`: the answer can change the route"
        )


def _denies_when_off(envoy: Envoy, flag: Node) -> bool:
    key = text(flag, "runtime_key")
    return is_set(envoy.runtime.get(key, pick(flag, "default_value")))


def removes_bearer(config: Node) -> bool:
    """Whether the answer may remove or replace `authorization`, by the order in which Envoy reads these rules.

    An answer over HTTP removes nothing; it replaces the headers that are listed.
    """
    if pick(config, "http_service") is not None:
        patterns = items(config, "http_service", "authorization_response", "allowed_upstream_headers", "patterns")
        return any(text(one, "exact").lower() == "authorization" for one in patterns)
    rules = message(config, "decoder_header_mutation_rules")
    if pick(rules, "disallow_expression") is not None and _matches(message(rules, "disallow_expression")) is not False:
        return False
    if pick(rules, "allow_expression") is not None and _matches(message(rules, "allow_expression")):
        return True
    return not truth(pick(rules, "disallow_all"))


def _matches(expression: Node) -> bool | None:
    """Whether the regular expression is one for `authorization`; None if it is not understood here."""
    try:
        return re.fullmatch(text(expression, "regex"), "authorization") is not None
    except re.error:
        return None


def _after(chain: Chain) -> Iterator[Finding]:
    """Filters behind the last check that may change what was checked; without a check there is no "after"."""
    positions = [number for number, one in enumerate(chain.filters) if one.is_check]
    for one in chain.filters[positions[-1] + 1 :] if positions else ():
        if one.is_login:
            if truth(path(one.typed.config, "config", "forward_bearer_token")):
                text_ = f"`{label(one.name)}` comes after the check and adds the bearer token"
                yield Finding(id="bearer-forwarded", where=chain.where, text=text_)
            text_ = f"the login `{label(one.name)}` comes after the check, which does not see who logged in"
            yield Finding(id="changed-after-check", where=chain.where, text=text_)
        elif one.typed.kind and not is_harmless(one.typed):
            text_ = f"`{label(one.name)}` comes after the check"
            yield Finding(id="changed-after-check", where=chain.where, text=text_)


def is_harmless(found: Typed) -> bool:
    """Whether a filter of this type changes nothing of a request that was checked."""
    family = _FAMILY.search(found.kind)
    return family is not None and family[1] in _HARMLESS


def upstream(envoy: Envoy, cluster: str) -> Iterator[str]:
    """The names of a cluster's own HTTP filters that may change a request: they run after the check."""
    options = message(envoy.clusters.get(cluster), "typed_extension_protocol_options")
    for one in (one for option in options.values() for one in items(option, "http_filters")):
        if not is_harmless(typed(pick(one, "typed_config"))):
            yield label(text(one, "name"))
