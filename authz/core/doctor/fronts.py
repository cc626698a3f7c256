"""What doctor finds in manifests of Envoy Gateway and Istio, and in agentgateway's configuration.

Law: the switches that let requests pass unchecked are looked for by their names wherever they stand, because their
places differ between versions and kinds. Nothing here says whether every route is checked: only Envoy's own
configuration does. A configuration inside another document, as text or in a List, is a document of its own.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from authz.core.doctor.envoy_config import is_envoy
from authz.core.doctor.kinds import Finding
from authz.core.doctor.reading import UnreadableError, documents
from authz.core.doctor.tree import Node, every, items, label, message, pick, text, truth, typed

FRAGMENT: Final = "put it under `static_resources`"
"""What to do with a part of Envoy's configuration, so that it is read."""

_OPEN: Final = (
    *("failOpen", "fail_open", "failureModeAllow", "failure_mode_allow", "failureModeAllowed"),
    *("shadowMode", "shadow_mode"),
)
_CHECKS: Final = ("extAuthz", "ext_authz", "extAuth", "ext_auth")
_ENVOY: Final = ("static_resources", "staticResources", "dynamic_resources", "dynamicResources")
_COPY: Final = "kubectl.kubernetes.io/last-applied-configuration"
_ALLOWING: Final = {"allow", "failopen", "open", "ignore"}
_TOP: Final = ("binds", "gateways", "routes", "llm", "mcp", "frontendPolicies", "listeners", "policies")
# CEL expressions that have the whole of what the gate decides by; part of one may be equal for two callers.
_METHOD: Final = re.compile(r"request\.method")
_HOST: Final = re.compile(r"request\.(?:host|uri)|request\.headers\[\s*[\"'](?:host|:authority)[\"']\s*\]")
_PATH: Final = re.compile(r"request\.(?:path|pathAndQuery|uri)")
_CALLER: Final = re.compile(r"request\.headers(?:\[\s*[\"']authorization[\"']\s*\]|\.authorization)", re.IGNORECASE)
_NEEDED: Final = (("the method", _METHOD), ("the host", _HOST), ("the path", _PATH), ("the caller's token", _CALLER))


def is_manifest(document: Any) -> bool:
    """Whether it is an object of Kubernetes, or MeshConfig of Istio."""
    return bool(text(document, "apiVersion") and text(document, "kind")) or "extensionProviders" in message(document)


def is_agentgateway(document: Any) -> bool:
    """Whether it is a configuration of agentgateway."""
    return any(pick(document, name) is not None for name in _TOP) and not is_fragment(document)


def is_fragment(document: Any) -> bool:
    """Whether it is a part of Envoy's configuration without what is around it: listeners, clusters, routes, or xDS."""
    listeners = items(document, "listeners") or (document if isinstance(document, list) else [])
    return (
        any(pick(document, name) is not None for name in ("clusters", "virtual_hosts", "filter_chains"))
        or any(pick(one, name) is not None for one in listeners for name in ("filter_chains", "address"))
        or any(".envoy." in f".{typed(one).kind}" for one in items(document, "resources"))
    )


def parts(document: Any, file: str) -> Iterator[tuple[str, Any]]:
    """The document with all that it holds, each with its place: items of a List, configurations in a text.

    What stands inside Envoy's own configuration stays there.
    """
    waiting = [(file, document)]
    while waiting:
        where, part = waiting.pop()
        yield where, part
        if not is_envoy(part):
            waiting += _inner(part, where)


def is_read(document: Any) -> bool:
    """Whether it only holds other documents, whose findings say everything about it."""
    is_map = text(document, "kind") == "ConfigMap" and pick(document, "binaryData") is None
    return bool(is_map or _listed(document)) and any(True for _one in _inner(document, ""))


def _listed(document: Any) -> Sequence[Any]:
    return items(document, "items") if text(document, "kind").endswith("List") else []


def _own(document: Any) -> Iterator[Node]:
    """Every mapping of the document, but for those of the items of a List."""
    return every({**document, "items": None} if _listed(document) else document)


def _inner(document: Any, where: str) -> Iterator[tuple[str, Any]]:
    yield from ((where, one) for one in _listed(document))
    for key, value in _texts(document):
        with contextlib.suppress(UnreadableError):
            place = f"{_place(document, where)}, `{label(key)}`"
            yield from ((place, one) for one in documents(value.encode()) if _is_part(one))


def _is_part(document: Any) -> bool:
    return isinstance(document, dict) or is_fragment(document)


def _texts(document: Any) -> Iterator[tuple[str, str]]:
    """Every text that could be a mapping, with its key; but for kubectl's copy of the object itself."""
    for node in _own(document):
        for key, value in node.items():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and ":" in one and key != _COPY:
                    yield key, one


def _place(document: Any, file: str) -> str:
    kind, name = text(document, "kind"), text(document, "metadata", "name")
    if kind:
        return f"{file}: {label(f'{kind} {name}')}"
    return f"{file}: agentgateway" if is_agentgateway(document) else file


def findings(document: Any, file: str) -> Iterator[Finding]:
    """Everything found in one of the parts, but for the parts inside it."""
    where = _place(document, file)
    if is_fragment(document):
        yield Finding(id="not-seen", where=where, text=f"a part of Envoy's configuration: {FRAGMENT}")
    for node in _own(document):
        yield from _switches(node, where)
        yield from _off(node, where)
        for key in _CHECKS:
            if isinstance(node.get(key), dict):
                yield from _agentgateway(node[key], where)
        if text(node, "kind") == "ClientTrafficPolicy":
            yield from _client_traffic(message(node, "spec"), _place(node, file))
    for key, value in _texts(document):
        if any(word in value for word in (*_OPEN, *_CHECKS, *_ENVOY)) and not _is_readable(value):
            text_ = f"the text `{label(key)}` names a part or a switch of the check"
            yield Finding(id="not-seen", where=where, text=text_)


def _is_readable(value: str) -> bool:
    try:
        documents(value.encode())
    except UnreadableError:
        return False
    return True


def _switches(node: Node, where: str) -> Iterator[Finding]:
    for key in _OPEN:
        if key in node and truth(node[key]):
            yield Finding(id="gateway-fails-open", where=where, text=f"`{key}` is true")
    key = text(node, "path").rpartition("/")[2]  # of a JSON patch (RFC 6902 §4)
    if key in _OPEN and truth(node.get("value")):
        yield Finding(id="gateway-fails-open", where=where, text=f"a patch sets `{key}`")


def _off(node: Node, where: str) -> Iterator[Finding]:
    """Checks that settings of a route switch off, as a patch of Envoy's configuration has them."""
    off = typed(node).is_a("http.ext_authz", "ExtAuthzPerRoute") and truth(pick(node, "disabled"))
    layer = message(node, "typed_per_filter_config")
    off = off or any(
        "ext_authz" in name and typed(one).is_a("route", "FilterConfig") and truth(pick(one, "disabled"))
        for name, one in layer.items()
    )
    if off:
        yield Finding(id="route-unchecked", where=where, text="the settings of a route have `disabled` for ext_authz")
    patched = text(node, "path")
    if patched.endswith("/disabled") and "ext_authz" in patched and truth(node.get("value")):
        yield Finding(id="route-unchecked", where=where, text="a patch sets `disabled` for ext_authz")


def _agentgateway(check: Node, where: str) -> Iterator[Finding]:
    """One `extAuthz`, with those inside its conditions."""
    for node in every(check):
        if str(node.get("failureMode", "")).replace("_", "").lower() in _ALLOWING:
            yield Finding(id="gateway-fails-open", where=where, text="`failureMode` lets requests pass")
        if "cache" not in node or node["cache"] is None:
            continue
        parts = [str(one).strip() for one in items(node, "cache", "key")]
        missing = [what for what, known in _NEEDED if not any(known.fullmatch(part) for part in parts)]
        if missing:
            text_ = f"the key of `cache` lacks {', '.join(missing)}"
            yield Finding(id="cache-ignores-caller", where=where, text=text_)


def _client_traffic(spec: Node, where: str) -> Iterator[Finding]:
    """Envoy Gateway refuses underscores and merges slashes unless this policy says otherwise."""
    if text(spec, "headers", "withUnderscoresAction") == "Allow":
        yield Finding(id="underscores-allowed", where=where, text="`withUnderscoresAction` is Allow")
    if truth(message(spec, "path").get("disableMergeSlashes")):
        yield Finding(id="slashes-not-merged", where=where, text="`disableMergeSlashes` is true")
