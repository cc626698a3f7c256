"""`traceparent`: what is sampled, and that nothing else is taken for one."""

import pytest

from authz.core.traceparent import Parent, sampled_parent, trace_of, traced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
NONE = [
    "",
    "00",
    SAMPLED[:-3],
    SAMPLED + "-x",
    SAMPLED + "\n",
    " " + SAMPLED,
    SAMPLED.replace("4bf9", "4BF9"),
    SAMPLED.replace("4bf9", "4bg9"),
    SAMPLED.replace("00f0", "\u0660\u0660f0"),
]


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
def test_a_sampled_one_names_the_span_above(flags):
    assert sampled_parent(f"00-{TRACE}-{SPAN}-{flags}") == Parent(int(TRACE, 16), int(SPAN, 16), int(flags, 16))


def test_one_of_a_later_version_is_read_too():
    assert sampled_parent(f"cc-{TRACE}-{SPAN}-01") is not None


@pytest.mark.parametrize("flags", ["00", "02", "fe"])
def test_one_that_is_not_sampled_has_a_trace_and_no_span(flags):
    text = f"00-{TRACE}-{SPAN}-{flags}"
    assert trace_of(text) == TRACE
    assert sampled_parent(text) is None


@pytest.mark.parametrize("text", NONE)
def test_what_is_none_has_neither(text):
    assert trace_of(text) == ""
    assert sampled_parent(text) is None


@pytest.mark.parametrize("text", [f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"])
def test_invalid_ids_and_the_invalid_version_are_not_sampled(text):
    assert sampled_parent(text) is None


def test_a_message_keeps_its_bytes_beside_the_traceparent_of_its_call():
    message = traced(b"message", SAMPLED)
    assert message == b"message"
    assert message.traceparent == SAMPLED
