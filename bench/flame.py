"""Where a server's time goes while it answers Checks: recorded by py-spy, drawn as a flame graph, and as a table.

Only the serving thread is shown, from the loop upwards. Frames of one native library that follow one another are one
frame: what happens inside of them is not ours.
"""

import html
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench import checks, load
from bench.load import LoadError

_SECONDS = 15
_RATE = 500  # samples per second
_CHECKS = 30_000  # sent again and again until the recording has ended
_LOOP = "CqEngine._serve"
_LIBRARIES = {
    "cygrpc": "gRPC core",
    "libpython": "CPython",
    "python3": "CPython",
    "libc.so": "libc and system calls",
    "_message": "protobuf (upb)",
    "orjson": "orjson",
    "libcrypto": "OpenSSL",
    "_hashlib": "OpenSSL",
    "vdso": "libc and system calls",
    "libstdc++": "gRPC core",
    "ld-linux": "libc and system calls",
}
_OTHER = "other native code"
_NATIVE = frozenset({*_LIBRARIES.values(), _OTHER})
_WIDTH, _ROW = 1200, 17
_FONT = 'font-family="monospace" font-size="11"'


def record(fleet, keys, folder):
    """Folded stacks with their numbers of samples: the main row (100 rules, 14 headers, cached token).

    Raises:
        LoadError: py-spy recorded nothing; it needs the right to trace (root, or ptrace_scope 0).
    """
    body = checks.framed(checks.request(checks.token(keys["RS256"])))
    file, raw = folder / "flame.bin", folder / "flame.raw"
    file.write_bytes(body)
    server = fleet.gate("flame")
    server.start()
    server.wait_allowed(lambda: body)
    load.grpc(server.address, file, _CHECKS)
    spy = Path(sys.executable).with_name("py-spy")
    bounds = ["--native", "--format", "raw", "--rate", _RATE, "--duration", _SECONDS]
    command = [spy, "record", *bounds, "--pid", max(server.pids), "--output", raw]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as ran:
        while ran.poll() is None:
            load.grpc(server.address, file, _CHECKS)
        said = ran.stdout.read()
    server.stop()
    if ran.returncode:
        raise LoadError(f"py-spy ended with status {ran.returncode}: {said}")
    return _folded(raw.read_text())


def _folded(text):
    stacks = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_frame(frame) for frame in stack.split(";")]
        if _LOOP in frames:
            frames = frames[frames.index(_LOOP) :]
            stacks[tuple(one for one, before in zip(frames, [None, *frames], strict=False) if one != before)] += int(
                count
            )
    return stacks


def _frame(text):
    """`function (file:line)` as the function's name, a native frame as its library's."""
    name, place = re.fullmatch(r"(.*?)(?: \(([^()]*)\))?", text).groups()
    if place and re.search(r"\.py(:\d+)?$|^[\w/]+:\d+$", place) and not name.startswith("0x"):
        return name
    return next((title for part, title in _LIBRARIES.items() if part in (place or "")), _OTHER)


def table(stacks):
    """Samples by the deepest function of ours, in percent of all: (function, percent), the largest first."""
    ours = Counter()
    for frames, count in stacks.items():
        ours[next(frame for frame in reversed(frames) if frame not in _NATIVE)] += count
    total = sum(stacks.values())
    return [(name, 100 * count / total) for name, count in ours.most_common()]


def draw(stacks):
    """The flame graph as SVG: the width of a frame is its share of the samples."""
    total = sum(stacks.values())
    rows, boxes = 0, []

    def place(depth, left, some):
        nonlocal rows
        groups = {}
        for frames, count in some.items():
            if len(frames) > depth:
                groups.setdefault(frames[depth], {})[frames] = count
        for name, inside in sorted(groups.items()):
            width = sum(inside.values())
            if width / total > 1 / _WIDTH:
                rows = max(rows, depth + 1)
                boxes.append((depth, left, width, name))
                place(depth + 1, left, inside)
            left += width

    place(0, 0, stacks)
    height = rows * _ROW
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT}>']
    for depth, left, width, name in boxes:
        x, wide, y = left / total * _WIDTH, width / total * _WIDTH, height - (depth + 1) * _ROW
        color = "#9db7d5" if name in _NATIVE else "#f2b05e"
        label = html.escape(name[: int(wide / 6.7)])
        parts.append(
            f"<g><title>{html.escape(name)}: {100 * width / total:.1f} %</title>"
            f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{_ROW - 1}" fill="{color}"/>'
            f'<text x="{x + 3:.1f}" y="{y + 12}">{label if wide > 25 else ""}</text></g>'
        )
    return "\n".join([*parts, "</svg>\n"])
