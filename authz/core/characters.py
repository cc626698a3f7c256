"""Misleading characters: those that people cannot see, and those that only some programs take for a line end.

Law: pure, and the same in every place. What an editor, `grep` and a reviewer show is what is read: a file with such a
character anywhere is refused; an author who means one writes it as an escape. Foreign text quoted in one of our lines
stays one line: see `one_line`.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple

_BREAKS: Final = "\u0085\u2028\u2029"
_LONE_RETURN: Final = r"\r(?!\n)"
# Unicode's Default_Ignorable_Code_Point, and the controls of the category Cf that show nothing.
_UNSEEN: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_MISLEADING: Final = re.compile(f"[{_BREAKS}{_UNSEEN}]|{_LONE_RETURN}")
_HIDDEN: Final = re.compile(f"[{_UNSEEN}\u2800]")  # the last one is a Braille pattern without dots
_SPACES: Final = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_OF_EMOJI: Final = frozenset("\ufe0e\ufe0f\u200d")
_SYMBOLS: Final = frozenset({"So", "Sk"})
_NAMES: Final = {"\r": "CARRIAGE RETURN", "\u0085": "NEXT LINE"}


class Misleading(NamedTuple):
    """One such character: where it is in the text, what it does, and how to write it visibly."""

    offset: int
    message: str
    escape: str


def misleading(text: str) -> Iterator[Misleading]:
    """Every character that does not belong in a file that people read, in order."""
    if text.isascii() and "\r" not in text:
        return
    for match in _MISLEADING.finditer(text):
        character = match[0]
        if character in _OF_EMOJI and _follows_emoji(text, match.start()):
            continue
        does = "ends a line for some programs and not for others"
        message = f"{named(character)} {does}" if character in f"\r{_BREAKS}" else f"{named(character)} is invisible"
        yield Misleading(match.start(), message, _escaped(character))


def foreign_space(text: str) -> str:
    """The first space in the text that only looks like the ordinary one; or ""."""
    match = None if text.isascii() else _SPACES.search(text)
    return match[0] if match else ""


def named(character: str) -> str:
    """`U+200B (ZERO WIDTH SPACE)`."""
    name = _NAMES.get(character) or unicodedata.name(character, "no name")
    return f"U+{ord(character):04X} ({name})"


def one_line(text: str) -> str:
    """The text, with characters that end a line, hide in it or change how it is shown escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character if character.isprintable() and not _is_hidden(text, at) else _escaped(character)
        for at, character in enumerate(text)
    )


def _is_hidden(text: str, at: int) -> bool:
    """Whether a character that Unicode calls printable shows nothing."""
    hidden = _HIDDEN.match(text, at) is not None
    return hidden and not (text[at] in _OF_EMOJI and _follows_emoji(text, at))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _follows_emoji(text: str, offset: int) -> bool:
    """Whether it is a variation selector or joiner that shapes the symbol before it."""
    before = text[offset - 1 : offset]
    joined = before == "\ufe0f" and text[offset] == "\u200d"
    return joined or (before != "" and unicodedata.category(before) in _SYMBOLS)
