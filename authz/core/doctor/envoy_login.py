"""What doctor finds about Envoy's login: sessions that outlive their token, tokens that are too large for a cookie."""

from collections.abc import Iterator, Sequence
from typing import Final

from authz.core.doctor.envoy_filters import Chain
from authz.core.doctor.envoy_routes import answers_431, routes
from authz.core.doctor.kinds import Finding
from authz.core.doctor.site import Site
from authz.core.doctor.tree import Node, every, label, message, pick, seconds, truth, typed

_KEPT: Final = ("disable_access_token_set_cookie", "disable_id_token_set_cookie")


def findings(chains: Sequence[Chain], tables: Sequence[Node], where: str, site: Site) -> Iterator[Finding]:
    """Everything found about the logins of one connection manager, those of single routes included."""
    logins = [(one.name, one.typed.config) for chain in chains for one in chain.filters if one.is_login]
    for table in tables:
        holders = [table, *(holder for pair in routes(table) for holder in pair)]
        for node in every([pick(holder, "typed_per_filter_config") for holder in holders]):
            found = typed(node)
            if found.is_a("http.oauth2", "OAuth2PerRoute"):
                logins.append(("a route", found.config))
    handled = any(answers_431(table) for table in tables)
    for name, outer in logins:
        config = message(outer, "config")
        if not config:
            continue  # a login without settings of its own: its routes have them
        if not handled and pick(config, "token_cookie_chunking") is None and not _keeps_none(config):
            text = f"the login `{label(name)}` has no `token_cookie_chunking`"
            yield Finding(id="cookie-not-split", where=where, text=text)
        lasts = seconds(pick(config, "default_expires_in"))
        if site.longest and lasts > site.longest:
            text = f"`default_expires_in` is {lasts:.0f} s; the policy accepts tokens of at most {site.longest} s"
            yield Finding(id="login-outlives-token", where=where, text=text)


def _keeps_none(config: Node) -> bool:
    return all(truth(pick(config, name)) for name in _KEPT)
