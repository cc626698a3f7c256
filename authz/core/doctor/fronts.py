"""What doctor finds in manifests of Envoy Gateway and Istio, and in agentgateway's configuration.

Law: the switches that let requests pass unchecked are looked for by their names wherever they stand, also in YAML that
a manifest holds as text: their places differ between versions and kinds.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from authz.core.doctor.kinds import Finding
from authz.core.doctor.reading import UnreadableError, documents
from authz.core.doctor.tree import Node, every, items, label, message, pick, text, truth

_OPEN: Final = (
    *("failOpen", "fail_open", "failureModeAllow", "failure_mode_allow", "failureModeAllowed"),
    *("shadowMode", "shadow_mode"),
)
_CHECKS: Final = ("extAuthz", "ext_authz", "extAuth", "ext_auth")
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
    return any(pick(document, name) is not None for name in _TOP)


def findings(document: Any, file: str) -> Iterator[Finding]:
    """Everything found in one document."""
    kind = text(document, "kind")
    name = text(document, "metadata", "name")
    where = f"{file}: {label(f'{kind} {name}' if kind else 'agentgateway')}"
    for node in every(document):
        yield from _switches(node, where)
        for key in _CHECKS:
            if isinstance(node.get(key), dict):
                yield from _agentgateway(message(node, key) or node[key], where)
        yield from _inside(node, where)
    if kind == "ClientTrafficPolicy":
        yield from _client_traffic(message(document, "spec"), where)


def _switches(node: Node, where: str) -> Iterator[Finding]:
    for key in _OPEN:
        if key in node and truth(node[key]):
            yield Finding(id="gateway-fails-open", where=where, text=f"`{key}` is true")


def _inside(node: Node, where: str) -> Iterator[Finding]:
    """YAML in a text, as a ConfigMap has it; what cannot be parsed and names a switch was not seen."""
    for key, value in node.items():
        if isinstance(value, str) and "\n" in value and any(word in value for word in (*_OPEN, *_CHECKS)):
            try:
                inner = documents(value.encode())
            except UnreadableError:
                yield Finding(id="not-seen", where=where, text=f"the text `{label(key)}` names a switch of the check")
                continue
            for document in inner:
                for one in every(document):
                    yield from _switches(one, where)


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
