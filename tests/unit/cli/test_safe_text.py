"""Text made safe for Markdown, a spreadsheet, HTML and a shell."""

import shlex
import subprocess

import pytest

from authz.cli.safe_text import MARKDOWN, TERMINAL, command, in_html, markdown, spreadsheet

WORDS = ["plain", "a b", "it's", "a\\nb", "g\x1b[2K", "\r\n", "naïve\u202e", "\\", "'\t'", "$HOME", "\U0001f600\u200d"]


@pytest.mark.parametrize("word", WORDS)
def test_a_shell_reads_the_same_word(word):
    line = command(["printf", "%s", word])
    assert line.isprintable()
    asked = subprocess.run(["bash", "-c", line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert asked.stdout.decode() == word
    if word.isprintable():
        assert shlex.split(line)[-1] == word


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "  =1", "|x", "\uff1d1"])
def test_a_spreadsheet_evaluates_nothing(text):
    assert spreadsheet(text).startswith("'")


def test_other_cells_are_as_they_are():
    assert [*map(spreadsheet, ("all DAGs", "sales_*", "", "a=b"))] == ["all DAGs", "sales_*", "", "a=b"]


def test_markdown_is_no_markup():
    assert markdown("a_b *c* [d](e) <f> `g` |\\ &amp; _h_ $i$") == (
        r"a_b \*c\* \[d\](e) &#60;f\> &#96;g&#96; &#124;&#92; &#38;amp; \_h\_ &#36;i&#36;"
    )
    assert "\n" not in markdown("a\n# b")


def test_names_are_apart_from_the_text_around_them():
    assert [*map(MARKDOWN.code, ("a", "a`b", "a|b", " a", ""))] == [
        "`a`",
        "<code>a&#96;b</code>",
        "<code>a&#124;b</code>",
        "<code> a</code>",
        "<code></code>",
    ]
    assert TERMINAL.code("a`, group `b") == r"`a\x60, group \x60b`"


def test_html_is_no_markup():
    assert in_html('<b>&"\u202e') == r"&lt;b&gt;&amp;&quot;\u202e"
