"""Fail when a text uses words that the project has better ones for: `make lint` runs this.

Checked are docstrings, comments, messages (strings with a space) and documentation, outside code and backticks. A list
of words is no style guide: it keeps out what readers and searches stumbled over.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
INSTEAD: Final = {
    r"\b[Ww]hoever\b|\b[Ww]hom\b": "a caller that, anyone who",
    r"\b[Ss]omebody\b": "a person, another user, someone else",
    r"\b[Nn]obody\b": "no one, anonymous",
    r"\b(?:is|are|was|were|been) told\b": "name who reports it",
    r"\b[Hh]ow sure\b|\bsurer\b|\b[Ss]urely\b": "assurance level",
    r"\b[Jj]udge[ds]?\b": "evaluated, checked",
    r"\bbeliev": "trusted, accepted",
    r"\bcomes? twice\b": "duplicate",
    r"\banew\b": "again",
    r"\bways? out\b": "egress, egress route",
    r"\bheld against\b": "checked against",
    r"\bfor want of\b": "because there is no",
}
_ANY: Final = re.compile("|".join(f"({pattern})" for pattern in INSTEAD))
_QUOTED: Final = re.compile(r"`[^`\n]*`")
# History says what was; the demo speaks as people do; a person of that name is a person.
_LEFT_OUT: Final = ("CHANGELOG.md", "authz/_generated", "demo")
_WITH_DOCSTRING: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """Line (from 0), word and advice for each hit."""
    for number, line in enumerate(text.split("\n")):
        for match in _ANY.finditer(_QUOTED.sub("``", line)):
            yield number, match[0], list(INSTEAD.values())[(match.lastindex or 1) - 1]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file, each with its first line (from 1)."""
    source = path.read_text()
    if path.suffix == ".md":
        yield (
            1,
            re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), source, flags=re.DOTALL | re.MULTILINE),
        )
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def main() -> int:
    """Print every finding; 1 when there is one."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "authz").rglob("*.py")]
    found = 0
    for path in sorted(files):
        name = str(path.relative_to(ROOT))
        if name.startswith(_LEFT_OUT):
            continue
        for first, text in texts(path):
            for offset, word, advice in findings(text):
                found += 1
                print(f"{name}:{first + offset}: `{word}`: write {advice}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
