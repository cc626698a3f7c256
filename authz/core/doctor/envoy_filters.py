"""The HTTP filters of a connection manager: where the check is, what can switch it off, what comes after it.

Law: a filter after the check is fine only if it is in the list of those that change nothing of a request. An ext_authz
filter inside another one is not a check, because that one decides whether it runs.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from authz.core.doctor.envoy_config import Envoy
from authz.core.doctor.kinds import Finding
from authz.core.doctor.tree import Node, Typed, every, is_set, items, label, message, path, pick, text, truth, typed

_CACHES: Final = ("cache", "cache_v2")
_FAMILY: Final = re.compile(r"\.filters\.http\.([a-z0-9_]+)\.")
# Why a filter may come after the check: it changes neither what was checked nor where the request goes.
_HARMLESS: Final = MappingProxyType(
    {
        "router": "sends it where the route says; its own upstream filters are looked at",
        "upstream_codec": "writes it to the connection",
        "ext_authz": "asks an authorizer; what its answer may change is looked at",
        "rbac": "answers or lets pass",
        "csrf": "answers or lets pass",
        "cors": "answers preflights, adds headers to answers",
        "health_check": "answers it, or only looks at the answer",
        "fault": "delays or ends it",
        "admission_control": "answers or lets pass",
        "adaptive_concurrency": "answers or lets pass",
        "bandwidth_limit": "delays it",
        "bandwidth_share": "delays it",
        "kill_request": "ends Envoy",
        "local_ratelimit": "answers or lets pass; adds only headers of its configuration",
        "ratelimit": "answers or lets pass; adds only headers of the rate limit service",
        "rate_limit_quota": "answers or lets pass",
        "buffer": "holds the body",
        "file_system_buffer": "holds the body",
        "compressor": "encodes the body",
        "decompressor": "decodes the body",
        "gzip": "encodes the body",
        "grpc_stats": "counts",
        "tap": "copies",
        "geoip": "adds headers about the client's address",
        "cdn_loop": "adds CDN-Loop",
        "original_src": "chooses the address that it comes from",
        "set_metadata": "writes metadata",
        "stateful_session": "chooses one of the cluster's own addresses",
        "alternate_protocols_cache": "chooses a protocol",
        "custom_response": "changes answers; its redirects pass the check again",
        "dynamic_forward_proxy": "resolves the Host; where a route rewrites that, it is looked at",
    }
)
# They change nothing but `authorization`, which they set for the upstream: right for a destination of tasks only.
_AUTHORIZING: Final = frozenset({"credential_injector", "gcp_authn", "aws_request_signing"})


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

    @property
    def after(self) -> tuple[HttpFilter, ...]:
        """The filters behind the last check; without a check there is no "after"."""
        positions = [number for number, one in enumerate(self.filters) if one.is_check]
        return self.filters[positions[-1] + 1 :] if positions else ()


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
        if _family(one.typed) in _CACHES:
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
    """Filters behind the last check that may change what was checked."""
    for one in chain.after:
        if one.is_login:
            if truth(path(one.typed.config, "config", "forward_bearer_token")):
                text_ = f"`{label(one.name)}` comes after the check and adds the bearer token"
                yield Finding(id="bearer-forwarded", where=chain.where, text=text_)
            text_ = f"the login `{label(one.name)}` comes after the check, which does not see who logged in"
            yield Finding(id="changed-after-check", where=chain.where, text=text_)
        elif one.typed.kind and may_change(one.typed):
            text_ = f"`{label(one.name)}` comes after the check"
            yield Finding(id="changed-after-check", where=chain.where, text=text_)
        for inner in _of_router(one):
            if may_change(inner.typed):
                text_ = f"the upstream filter `{label(inner.name)}` of `{label(one.name)}` runs after the check"
                yield Finding(id="changed-after-check", where=chain.where, text=text_)


def _family(found: Typed) -> str:
    family = _FAMILY.search(found.kind)
    return family[1] if family is not None else ""


def may_change(found: Typed) -> bool:
    """Whether a filter of this type may change more of a checked request than its `authorization`."""
    return _family(found) not in _HARMLESS and _family(found) not in _AUTHORIZING


def _listed(filters: Sequence[Any]) -> list[HttpFilter]:
    """Upstream filters: whether they come by ECDS or switched off is not asked."""
    return [
        HttpFilter(name=text(one, "name"), typed=typed(pick(one, "typed_config")), disabled=False) for one in filters
    ]


def _of_router(one: HttpFilter) -> list[HttpFilter]:
    return _listed(items(one.typed.config, "upstream_http_filters")) if one.typed.is_a("http.router", "Router") else []


def upstream(envoy: Envoy, cluster: str) -> list[HttpFilter]:
    """A cluster's own HTTP filters: they run after the check, instead of the router's."""
    options = message(envoy.clusters.get(cluster), "typed_extension_protocol_options")
    return [one for option in options.values() for one in _listed(items(option, "http_filters"))]


def authorizing(envoy: Envoy, chain: Chain, cluster: str) -> list[HttpFilter]:
    """The filters after the check that set `authorization` for the upstream."""
    inner = [more for one in chain.after for more in _of_router(one)]
    return [one for one in (*chain.after, *inner, *upstream(envoy, cluster)) if _family(one.typed) in _AUTHORIZING]
