from importlib.resources import files

import pytest

from authz.core import catalogue
from authz.core.catalogue.build import read
from scripts import catalogue_file
from scripts.catalogue_file import UNKNOWN, Walked, overlap

TEXT = """# A comment that stays.
version: "1.0"

operations:
  things:read: {airflow_role: viewer, help: "Read things."}
  things:alter: {airflow_role: user, help: "Change things."}

routes:

  # Thing
  - {path: "/things/{id}", methods: {GET: things:read, PUT: things:alter}}
  - {path: "/things", methods: {GET: things:read}, dag: "~", narrowed: true, why: "said"}

# Airflow routes that have no operation: only a rule about `paths` can allow them.
no_operation:
  - {path: "/{rest:path}", methods: [GET], why: "any path"}
"""
READ = ("dag GET",)
WALKED = [
    Walked("GET", "/things/{id}", "viewer", READ, "Thing"),
    Walked("PUT", "/things/{id}", "user", ("dag PUT",), "Thing"),
    Walked("GET", "/things", "viewer", READ, "Thing"),
    Walked("GET", "/{rest:path}", "anyone"),
]


def updated(walked):
    done = catalogue_file.update(catalogue_file.read(TEXT), walked)
    return done, catalogue_file.render(done.document, done.sections)


def test_what_is_decided_stays_and_the_bytes_are_the_same():
    done, text = updated(WALKED)
    assert (done.new, done.gone) == ([], [])
    assert catalogue_file.read(text) == catalogue_file.read(TEXT)
    again = catalogue_file.update(catalogue_file.read(text), WALKED)
    assert catalogue_file.render(again.document, again.sections) == text
    assert text.startswith("# A comment that stays.")
    assert read(text.encode(), "x.yaml", "1.0").match(("things",), "GET").narrowed


def test_what_is_new_waits_for_a_person_and_is_guessed_from_airflows_checks():
    done, text = updated(
        [*WALKED[:3], Walked("GET", "/more", "viewer", READ, "Thing"), Walked("POST", "/odd", "admin")]
    )
    assert done.new == ["GET /more", "POST /odd"]
    more, odd = done.document.entries[-2:]
    assert more.methods == {"GET": "things:read"}
    assert more.marks == {"dag": "~", "review": "new: Airflow checks dag GET (lowest role: viewer)"}
    assert odd.methods == {"POST": UNKNOWN}
    with pytest.raises(ValueError, match=r"2 routes wait for a person's decision \(`review`\): /more, /odd"):
        read(text.encode(), "x.yaml", "1.0")


def test_a_route_that_is_gone_is_reported_and_left_out():
    done, text = updated([WALKED[0], *WALKED[2:]])
    assert done.gone == ["PUT /things/{}"]
    assert "PUT" not in text.partition("\nroutes:")[2]


def test_airflows_order_is_kept_where_it_matters():
    """A later method joins its path's entry only where no entry in between would lose its turn."""
    walked = [
        Walked("DELETE", "/things/{id}", "user"),
        Walked("GET", "/things/special", "viewer"),
        Walked("GET", "/things/{id}", "viewer"),
    ]
    paths = [entry.path for entry in updated(walked)[0].document.entries]
    assert paths == ["/things/{id}", "/things/special", "/things/{id}"]


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("/a/{x}", "/a/b", True),
        ("/a/{x}", "/a", False),
        ("/a/{x:path}", "/a/b/c", True),
        ("/a/{x}/c", "/{y}/b/{z}", True),
        ("/a/{x}", "/a/", False),
        ("/a/b", "/a/c", False),
    ],
)
def test_templates_that_some_path_fits_both(one, other, both):
    assert overlap(one, other) is overlap(other, one) is both


@pytest.mark.parametrize("version", catalogue.versions())
def test_every_data_file_is_as_the_script_writes_it(version):
    text = files(catalogue).joinpath(f"airflow-{version}.yaml").read_text()
    document = catalogue_file.read(text)
    plain = catalogue_file.render(document, {})
    assert [line for line in text.splitlines() if line and not line.startswith("  #")] == [
        line for line in plain.splitlines() if line
    ]
