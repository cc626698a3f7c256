"""Characters that mislead: each of them is named, and text of others stays one line."""

import sys
import unicodedata

import pytest

from authz.core.characters import foreign_space, misleading, one_line
from authz.core.errors import ConfigError, PolicyError, Problem
from authz.core.policy import Bundle, load
from authz.settings import parse
from tests.support.rigs.service import POLICY

BREAKS = ["\u2028", "\u2029", "\u0085", "\r"]
UNSEEN = ["\u200b", "\u200d", "\u200e", "\u202e", "\u2066", "\u00ad", "\u3164", "\ufeff", "\ufe0f", "\U000e0041"]
HIDDEN_RULE = "{id: hidden, plane: inbound, roles: [authenticated], paths: ['/**']}"
SETTINGS = "version: 1\n"


def problems(text):
    with pytest.raises(PolicyError) as caught:
        load(Bundle(text.encode(), "policy.yaml"))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("character", BREAKS)
def test_a_comment_is_no_rule(character):
    """What an editor and grep show as one comment was a rule that allows everything."""
    lines = POLICY.count("\n")
    text = f"{POLICY.rstrip()}\n  # nothing to see here{character}  - {HIDDEN_RULE}\n"
    [told] = problems(text)
    assert told.startswith(f"policy.yaml:{lines + 1}:24: U+{ord(character):04X} (")
    assert "ends a line for some programs and not for others" in told


@pytest.mark.parametrize("character", [*BREAKS, *UNSEEN])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("id: readers", "id: read{}ers"),
        ("roles: [viewer]", 'roles: ["view{}er"]'),
        ("version: 1\n", "version: 1\n# a comm{}ent\n"),
        ("data-readers", "data{}-readers"),
    ],
)
def test_an_invisible_character_is_refused_wherever_it_stands(character, before, after):
    assert before in POLICY
    told = problems(POLICY.replace(before, after.format(character), 1))
    assert len(told) == 1
    assert f"U+{ord(character):04X}" in told[0]
    assert "policy.yaml:" in told[0]


@pytest.mark.parametrize("character", [*BREAKS, *UNSEEN])
def test_an_invisible_character_is_refused_in_settings_too(tmp_path, character):
    with pytest.raises(ConfigError, match=rf"authz.yaml:2:6: U\+{ord(character):04X}"):
        parse(f"{SETTINGS}# no {character}listen: []\n".encode(), tmp_path / "authz.yaml")


def test_windows_lines_and_a_mark_at_the_begin_are_fine():
    assert (
        load(Bundle(("\ufeff" + POLICY.replace("\n", "\r\n")).encode(), "p")).rules.keys()
        == load(Bundle(POLICY.encode(), "p")).rules.keys()
    )


def test_as_an_escape_it_is_there_for_everybody_to_see():
    text = POLICY.replace("version: 1\n", 'version: 1\ndescription: "zero\\u200bwidth, line\\u2028separator"\n')
    assert load(Bundle(text.encode(), "p"))


@pytest.mark.parametrize("text", ["⚠️ careful", "👩‍💻", "❤️‍🔥", "👍🏽", "✅", "naïve façade, 日本語, عربى"])
def test_emoji_and_other_scripts_are_fine(text):
    assert list(misleading(text)) == []
    assert load(Bundle(POLICY.replace("version: 1\n", f"version: 1\n# {text}\n").encode(), "p"))


@pytest.mark.parametrize("text", ["a\ufe0f", "\ufe0f", "\u200d", "a\u200db", "\U0001f469\u200d\u200d"])
def test_what_belongs_to_no_emoji_is_misleading(text):
    assert len(list(misleading(text))) == 1


def test_every_invisible_control_of_unicode_is_known():
    visible = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2}
    unknown = [
        hex(number)
        for number in range(sys.maxunicode + 1)
        if unicodedata.category(chr(number)) in {"Cf", "Zl", "Zp"}
        and number not in visible
        and not list(misleading(chr(number)))
    ]
    assert unknown == []


def test_many_are_cut_with_a_count():
    told = problems(POLICY + "# " + "\u200b" * 50 + "\n")
    assert len(told) == 21
    assert "and 30 more like these" in told[-1]


@pytest.mark.parametrize("space", ["\u00a0", "\u2007", "\u3000"])
def test_a_look_alike_space_is_refused_only_where_it_would_be_part_of_a_plain_value(space):
    text = POLICY.replace("data-readers", f"data-readers{space}")
    assert [
        f"U+{ord(space):04X}" in told and "looks like a space but is not one" in told for told in problems(text)
    ] == [True]
    assert load(
        Bundle(
            POLICY.replace("version: 1\n", f"version: 1\n# a{space}comment\ndescription: 'a{space}text'\n").encode(),
            "p",
        )
    )
    assert foreign_space("an ordinary one, even ünder others") == ""


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\x1b", "\u2028", "\u202e", "\u200b", "\x00", "\u3164", "\ufe0f", "\U000e0100", "\u2800"]
)
def test_a_problem_is_one_line_whatever_it_quotes(character):
    told = str(Problem(f"poli{character}cy.yaml", 1, 2, f"`a{character}b` is not a name", f"not{character}so"))
    assert len(told.splitlines()) == 1
    assert told.isprintable()
    assert one_line(character) in told


def test_an_id_with_a_newline_does_not_break_the_error_in_two():
    told = problems(POLICY.replace("id: readers", 'id: "read\\ners"'))
    assert [line.splitlines() for line in told] == [[line] for line in told]
    assert "`read\\ners` is not a name" in told[0]


def test_text_that_can_be_printed_stays_as_it_is():
    assert one_line("plain, naïve, 日本語 ⚠\ufe0f") == "plain, naïve, 日本語 ⚠\ufe0f"
