"""Paths in which Airflow reads one name, and the log could have another: its routes, and Starlette's expressions."""

import re
from urllib.parse import unquote

import orjson
import pytest

from authz.core.edge import EXECUTION_UPSTREAM
from authz.core.record import followed_line

SEGMENT, PATH = "[^/]+", ".*"  # Starlette's converters; it compares with `match` of an expression that ends with `$`
XCOM = rf"/execution/xcoms/(?P<dag>{SEGMENT})/(?P<run>{SEGMENT})/(?P<task>{SEGMENT})/(?P<name>{PATH})"
ROUTES = [
    ("GET", rf"/execution/connections/(?P<name>{SEGMENT})"),
    ("GET", r"/execution/variables/(?P<name>keys)"),
    ("GET PUT DELETE", rf"/execution/variables/(?P<name>{PATH})"),
    ("GET", rf"{XCOM}/item/{SEGMENT}"),
    ("GET", rf"{XCOM}/slice"),
    ("GET HEAD POST DELETE", XCOM),
]


def read_by_airflow(method, target):
    """The names that Airflow's route gets, after uvicorn has decoded the path."""
    for methods, route in ROUTES:
        found = re.match(f"^{route}$", unquote(target)) if method in methods.split() else None
        if found is not None:
            return found.groupdict()
    return None


def entry_of(method, target):
    line = {
        "time": "2026-11-30T08:00:00.000Z",
        "upstream": EXECUTION_UPSTREAM,
        "method": method,
        "path": target,
        "status": 200,
        "upstream_host": "10.0.0.1:8080",
        "request_id": "0199d1c3-1111-7aaa-8bbb-0123456789ab",
    }
    return orjson.loads(followed_line(orjson.dumps(line))[1])


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/execution/variables/secret%0A"),
        ("PUT", "/execution/variables/team%2Fsecret%0A"),
        ("GET", "/execution/variables/keys%0A"),
        ("GET", "/execution/connections/orders%0A"),
        ("GET", "/execution/xcoms/d/r/t/return_value%0A"),
        ("POST", "/execution/xcoms/d/r/t/return_value%0A"),
        ("GET", "/execution/xcoms/d/r/t/return_value/slice%0A"),
        ("GET", "/execution/xcoms/d/r/t/return_value/item/0%0A"),
        ("HEAD", "/execution/xcoms/d/r/t/return_value/slice"),
        ("GET", "/execution/xcoms/d/r/t//item/0"),
        ("GET", "/execution/xcoms/d%0A/r/t/k"),
    ],
)
def test_the_name_in_the_log_is_the_one_that_airflow_reads(method, target):
    wanted = read_by_airflow(method, target)
    assert wanted is not None
    found = entry_of(method, target)
    assert {name: found[name] for name in wanted} == wanted
