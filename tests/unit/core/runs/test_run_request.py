import json

import pytest

from authz.core.errors import RequestError
from authz.core.reasons import Reason
from authz.core.runs.run_request import MAX_TARGET_BYTES, parse
from tests.support.factories.proofs import task_key, thumbprint
from tests.support.factories.tokens import b64, dump

JKT = thumbprint(task_key())
SAID = {"d": "sales_daily", "r": "manual__1", "t": "extract.a", "m": -1, "n": 2}


def target(holder=JKT, said=SAID, *, start="/execution/variables/__run_identity__/v1/"):
    described = said if isinstance(said, str) else b64(said if isinstance(said, bytes) else dump(said))
    return f"{start}{holder}/{described}"


def refused(text):
    with pytest.raises(RequestError) as caught:
        parse(text)
    assert caught.value.reason is Reason.BAD_PATH
    return caught.value.detail


def test_a_request_names_a_key_and_a_run():
    asked = parse(target())
    assert (asked.thumbprint, asked.proxy) == (JKT, False)
    assert (asked.dag_id, asked.run_id, asked.task_id) == ("sales_daily", "manual__1", "extract.a")
    assert (asked.map_index, asked.try_number) == (-1, 2)
    assert asked.key == target(start="__run_identity__/v1/")


def test_the_form_for_a_proxy_is_bound_to_no_key():
    asked = parse(target("proxy"))
    assert (asked.thumbprint, asked.proxy) == ("", True)


def test_a_task_need_not_know_its_try_and_json_may_be_written_in_any_way():
    assert parse(target(said={name: SAID[name] for name in "drtm"})).try_number is None
    assert parse(target(said=json.dumps({**SAID, "d": "süß"}, indent=1).encode())).dag_id == "süß"
    assert parse(target(said={**SAID, "m": 7})).map_index == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/execution/variables/__run_identity__/v1/",
        target() + "?x=1",
        target() + "?",
        target() + "#x",
        target() + "/",
        target() + "\n",
        target() + "=",
        "/" + target(),
        target(start="/execution/variables/__run_identity__/v2/"),
        target(start="/execution/variables/__run_identity__/v1//"),
        target(start="/execution/variables/__run_identity__//v1/"),
        target(start="/execution/variables/__RUN_identity__/v1/"),
        target(start="/execution/variables/%5f_run_identity__/v1/"),
        target(start="/execution/variables/./__run_identity__/v1/"),
        target(start="/execution/connections/__run_identity__/v1/"),
        target(start="/api/execution/variables/__run_identity__/v1/"),
        target(start="http://gate.test/execution/variables/__run_identity__/v1/"),
        target(start="execution/variables/__run_identity__/v1/"),
        target("Proxy"),
        target("proxy%20"),
        target(""),
        target(JKT[:-1]),
        target(JKT + "A"),
        target(JKT.replace(JKT[0], "%", 1)),
        target(said=""),
        target(said="%7B%7D"),
        target(said="A" * (MAX_TARGET_BYTES + 1)),
    ],
    ids=lambda _: "text",
)
def test_there_is_one_spelling(text):
    assert "in exactly that spelling" in refused(text)


@pytest.mark.parametrize(
    "said",
    [
        b"[]",
        b"{}",
        b"nonsense",
        b"\xff",
        b'{"d":"a","d":"a","r":"b","t":"c","m":-1}',
        {**SAID, "x": 1},
        {**SAID, "d": {}},
        {**SAID, "m": [[]]},
        {name: SAID[name] for name in "drt"},
        {**SAID, "d": ""},
        {**SAID, "d": "a "},
        {**SAID, "r": "a\n"},
        {**SAID, "t": 5},
        {**SAID, "m": -2},
        {**SAID, "m": "1"},
        {**SAID, "n": 0},
        {**SAID, "n": None},
        "AB",
    ],
)
def test_what_it_says_of_the_run_is_strict(said):
    assert "the run that it is for" in refused(target(said=said))


def test_a_thumbprint_has_no_spare_bits():
    for last in "BCDFGH":
        assert "spare bits" in refused(target("A" * 42 + last))
