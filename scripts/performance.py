"""Put the tables of a benchmark run into a page: `scripts/performance.py [build/bench.json [docs/performance.md]]`.

What stands between `<!-- measured -->` and `<!-- end -->` is replaced; nothing else of the page is touched. A run that
was not a full one, or that shared its machine, is refused: its numbers are no results.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
BUSY_PERCENT = 5.0


def refusal(about: dict[str, Any]) -> str:
    """Why these numbers are not to be published; "" when they are."""
    if about["plan"] != "full":
        return f"this was a {about['plan']} run: `make bench` measures everything"
    for name in ("others_percent", "stolen_percent"):
        if about[name] > BUSY_PERCENT:
            return f"the machine was busy: {name} is {about[name]}"
    return ""


def markdown(result: dict[str, Any]) -> Iterator[str]:
    """The machine, then every table of the report."""
    from bench import report  # noqa: PLC0415 found once the project's folder is on the path

    about = result["about"]
    yield (
        f"Measured {about['time'][:10]} at `{about['commit']}` on {about['cpus']} CPUs ({about['cpu']}), Linux"
        f" {about['kernel']}, Python {about['python']}, grpcio {about['grpcio']}; {about['rounds']} rounds, other"
        f" processes {about['others_percent']} % of the machine. In brackets: lowest and highest of the rounds."
    )
    for title, heads, lines in report.sections(result):
        yield f"\n**{title}**\n"
        yield f"| {' | '.join(heads)} |"
        yield "| --- |" + " ---: |" * (len(heads) - 1)
        yield from (f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Command line: read the numbers, write the page."""
    sys.path.insert(0, str(ROOT))
    given = [Path(argument) for argument in sys.argv[1:]]
    source, page = given + [ROOT / "build" / "bench.json", PAGE][len(given) :]
    result = json.loads(source.read_text())
    if why := refusal(result["about"]):
        sys.exit(f"{source}: {why}")
    body = "\n".join(markdown(result))
    text = page.read_text()
    start, end = "<!-- measured -->", "<!-- end -->"
    page.write_text(re.sub(f"{start}.*?{end}", lambda _: f"{start}\n{body}\n{end}", text, count=1, flags=re.DOTALL))


if __name__ == "__main__":
    main()
