"""The frame of all pages: escaped, without scripts, readable, and the same inside Airflow."""

import re
from itertools import product

import pytest

from authz.airflow import pages as airflow_pages
from authz.core.messages import page_frame
from authz.core.messages.page_frame import Branding, Link, page


def luminance(colour):
    """Relative luminance (WCAG 2.2) of `#rgb` or `#rrggbb`."""
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_has_enough_contrast_in_light_and_in_dark():
    light, dark = re.findall(r":root\{([^}]*)\}", page_frame.STYLE)
    for scheme in (light, dark):
        colours = dict(re.findall(r"--(\w+):(#\w+)", scheme))
        assert colours.keys() >= {"ink", "soft", "link", "paper", "code"}
        for text, ground in product(("ink", "soft", "link"), ("paper", "code")):
            assert contrast(colours[text], colours[ground]) >= 4.5


def test_the_pages_inside_airflow_have_the_same_style_and_policy():
    assert airflow_pages.STYLE == page_frame.STYLE
    assert airflow_pages.HEADERS["content-security-policy"] == page_frame.POLICY


@pytest.mark.parametrize("made", [airflow_pages.GATE, airflow_pages.REFUSED, airflow_pages.NO_KEYS])
def test_every_page_inside_airflow_has_a_next_step_and_the_decision(made):
    html = made.html("<d1>")
    assert f'<p class="go"><a href="{made.link}">{made.link_text}</a></p>' in html
    assert "<code>&lt;d1&gt;</code>" in html
    assert "<dl>" not in made.html()


def test_the_facts_of_a_page_inside_airflow_look_like_the_gates():
    found = airflow_pages.REFUSED.html("d1", at=1_800_000_000.0)
    of_the_gate = page("", facts=[("Time", "2027-01-15 08:00:00 UTC"), ("Decision", "d1")])
    assert re.findall("<dl>.*</dl>", found) == re.findall("<dl>.*</dl>", of_the_gate) != []


def test_everything_that_is_shown_is_escaped():
    bad = '"><script>x</script>'
    html = page(bad, bad, links=[Link(bad, bad)], facts=[(bad, bad)], branding=Branding(organisation=bad, contact=bad))
    assert "<script" not in html
    assert html.count("&quot;&gt;&lt;script&gt;") == 11


def test_what_is_empty_is_not_shown():
    html = page("T", "", links=(), facts=[("Time", "")])
    assert "<dl>" not in html
    assert 'class="go"' not in html
    assert 'class="by"' not in html
    assert "<title>T</title>" in html
    assert "ask the team that runs Airflow" in html


def test_a_contact_is_a_mail_address_or_a_link():
    assert page_frame.check_contact("") == ""
    assert "mailto:a@b.test" in page("T", branding=Branding(contact=page_frame.check_contact("a@b.test")))
    url = page_frame.check_contact("https://wiki.example.com/airflow?x=1#help")
    assert f'href="{url}"' in page("T", branding=Branding(contact=url))


@pytest.mark.parametrize(
    "text", ["javascript:x", "http://a.test", "a b", "https://", "a@b", "x" * 201, "https://a\n.test"]
)
def test_any_other_contact_is_a_mistake(text):
    with pytest.raises(ValueError, match="expected a mail address"):
        page_frame.check_contact(text)


def test_an_organisation_is_one_line():
    assert page_frame.check_organisation("Données & Co") == "Données & Co"
    for text in ("a\nb", "x" * 201):
        with pytest.raises(ValueError, match="at most 200"):
            page_frame.check_organisation(text)
