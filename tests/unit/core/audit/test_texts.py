import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import texts
from authz.core.errors import AuditBrokenError


@given(st.binary(max_size=80))
def test_base64_has_one_text_for_all_bytes(data):
    assert texts.decoded(texts.encoded(data)) == data


@given(st.text(alphabet="AQgw/+=- \n", max_size=9))
def test_every_text_is_canonical_or_refused(text):
    try:
        data = texts.decoded(text)
    except AuditBrokenError:
        return
    assert texts.encoded(data) == text


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AA",
        "AAA",
        "AB==",
        "AAB=",
        "AA=",
        "AAA==",
        "AAAA=",
        "-_8=",
        " AAA",
        "AAAA\n",
        "AA\nAA",
        "A\u00e9AA",
        "====",
    ],
)
def test_every_other_base64_is_refused(text):
    with pytest.raises(AuditBrokenError, match="base64"):
        texts.decoded(text)


@pytest.mark.parametrize("text", [texts.encoded(bytes(31)), texts.encoded(bytes(33)), ""])
def test_a_hash_has_32_bytes(text):
    with pytest.raises(AuditBrokenError, match="32 bytes"):
        texts.read_hash(text)


@pytest.mark.parametrize("number", [0, 1, 9, 10, 20_852_163, (1 << 63) - 1])
def test_numbers_are_decimal(number):
    assert texts.read_number(str(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        "01",
        "-1",
        "+1",
        "1 ",
        " 1",
        "1_0",
        "0x1",
        "1e3",
        "1.0",
        "\u0661",
        "\u00b2",
        "1\n",
        str(1 << 63),
        "9" * 5000,
    ],
)
def test_every_other_number_is_refused(text):
    with pytest.raises(AuditBrokenError, match="leading zeros"):
        texts.read_number(text)


def test_names_are_those_of_signed_notes():
    for name in ("a", "example.com/log42", "é", "\u200b", "\U0001f600", "oid/1.3.6"):
        assert texts.is_name(name)
    for name in (
        "",
        "+",
        "a b",
        "a\tb",
        "a\u0085b",
        "a\u00a0b",
        "a\u1680b",
        "a\u2000b",
        "a\u2029b",
        "a\u3000b",
        "\x1f",
    ):
        assert not texts.is_name(name)
