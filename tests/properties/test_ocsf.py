"""Whatever other programs made of the lines of a log, the event of a decision is one of OCSF."""

import json

from hypothesis import given
from hypothesis import strategies as st

from authz.core.ocsf import event
from authz.core.traffic.story import Recorded
from tests.support.ocsf import ASKED, CALLED, ENTRY, OUTCOME, mistakes

texts = st.sampled_from(
    ["", "x", "~", "deny", "GET", "sha256:00", "1.2.3", "::ffff:10.0.0.1", "2026-02-30T00:00", "\x1b[2J"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.ip_addresses().map(str) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


def changed(*models):
    names = st.sampled_from(sorted({name for model in models for name in model}))
    changes = st.dictionaries(names, anything, max_size=8)
    return st.builds(lambda model, some: {**model, **some}, st.sampled_from([*models, {}]), changes)


@given(changed(ASKED, CALLED), st.none() | changed(ENTRY), st.none() | changed(OUTCOME))
def test_the_event_of_a_line_of_any_kind_is_valid(record, entry, outcome):
    assert mistakes(json.loads(json.dumps(event(Recorded(record, entry, outcome))))) == []
