"""The lists of headers that no front passes on."""

import re

from authz.core import edge, stripped


def test_every_identity_header_is_of_a_family_that_callers_may_not_send():
    """A front removes whole families, so a name that comes later is removed too."""
    assert [
        name for name in (*edge.IDENTITY_HEADERS, edge.DECISION) if not name.startswith(stripped.CLIENT_PREFIXES)
    ] == []
    assert {*stripped.CLIENT_PREFIXES} < {*stripped.INBOUND_PREFIXES}
    assert {*stripped.CLIENT_HEADERS, *stripped.RUN_HEADERS} >= {*stripped.INBOUND_HEADERS}


def test_names_are_in_lower_case():
    every = (*stripped.INBOUND_PREFIXES, *stripped.INBOUND_HEADERS, *stripped.UPSTREAM_RESPONSE_HEADERS)
    assert [name for name in every if not re.fullmatch("[a-z0-9-]+", name)] == []
