"""The leaves of a JSON Schema in a document, and other values that each may have by the schema.

A leaf is a key, or an item of a list, that is no object itself. Its name has no numbers: `listen[]`, `envoy.admin`.
"""

import copy
import re
from itertools import pairwise

_WORDS = (
    *("127.0.0.3:7003", "10.0.0.9:53", "unix:/tmp/other.sock", "https://other.test/x", "https://other.test"),
    *("https://other.test/x/", "/other", "other.test", "*.other.test", "other", "b=c", "x-other", "Other "),
    "witness.example/w0+b8f78858+BFJyUAgb3NwugQHsvU9uNTbnDRS+kfRRUnMmuX0N4g5R",  # a witness's key
)


def leaves(schema, document):
    """Every leaf: its name, its place in the document (also of a key that is not there), and its own schema."""
    yield from _below(schema, schema, document, "", ())


def _below(whole, schema, value, name, place):
    kinds = [_resolved(whole, kind) for kind in schema.get("anyOf", [schema])]
    for kind in kinds:
        if "properties" in kind:
            for key, described in kind["properties"].items():
                inner = value.get(key) if isinstance(value, dict) else None
                yield from _below(whole, described, inner, f"{name}.{key}".lstrip("."), (*place, key))
        elif kind.get("type") == "array":
            items = value if isinstance(value, list) else [None]
            for position, item in enumerate(items):
                yield from _below(whole, kind["items"], item, f"{name}[]", (*place, position))
        elif kind.get("type") != "null":
            yield name, place, {**{key: schema[key] for key in ("default",) if key in schema}, **kind}


def _resolved(whole, schema):
    if "$ref" not in schema:
        return schema
    return {**whole["$defs"][schema["$ref"].rpartition("/")[2]], **{k: v for k, v in schema.items() if k != "$ref"}}


def value_at(document, place):
    """The value there; None where there is none."""
    for part in place:
        inside = isinstance(document, dict) and part in document
        inside = inside or (isinstance(document, list) and isinstance(part, int) and part < len(document))
        if not inside:
            return None
        document = document[part]
    return document


def changed(document, place, value):
    """The document with another value there; what it does not have on the way is made."""
    result = copy.deepcopy(document)
    owner = result
    for part, following in pairwise(place):
        inner = value_at(owner, (part,))
        if not isinstance(inner, dict | list):
            inner = [] if isinstance(following, int) else {}
            _put(owner, part, inner)
        owner = inner
    _put(owner, place[-1], value)
    return result


def _put(owner, part, value):
    if isinstance(owner, list):
        owner[part : part + 1] = [value]
    else:
        owner[part] = value


def others(kind, now):
    """Other values than `now` that the schema takes (or may take: what a pattern does not say is tried)."""
    now = kind.get("default") if now is None else now
    if "enum" in kind or "const" in kind:
        candidates = kind.get("enum", [kind.get("const")])
    elif kind.get("type") == "boolean":
        candidates = [not now]
    elif kind.get("type") == "integer":
        candidates = [now + 1, now - 1] if isinstance(now, int) else [2]
    elif kind.get("pattern", "").endswith("(ms|s|m|h|d)$"):
        seconds = float(re.sub("[a-z]", "", str(now or 1)))
        candidates = [f"{seconds * 0.9:g}s", f"{seconds * 1.1:g}s", f"{seconds + 1:g}s"]
    elif kind.get("pattern", "").endswith("(B|KiB|MiB|GiB)$"):
        octets = int(re.sub("[A-Za-z]", "", str(now or 1)))
        candidates = [f"{octets + 1}B", f"{octets + 65536}B", f"{octets * 1024 + 1}B", f"{octets + 1}KiB"]
    else:
        text = now if isinstance(now, str) else ""
        candidates = [f"{text}x", f"{text[:-1]}7", f"{text[:-1]}8", text.replace("//", "//x", 1), *_WORDS]
    return [candidate for candidate in candidates if candidate != now]
