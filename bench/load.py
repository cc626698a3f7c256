"""The load generators: h2load and wrk, run with bounds, and their output as numbers. Times are microseconds."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from authz.engine.contract import CHECK

_LONGEST_S = 300
_GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One measurement as the client saw it. `data` is the bytes of bodies received, 0 where that is not told."""

    done: int
    seconds: float
    p50: float
    p99: float
    data: int = 0

    @property
    def rate(self):
        return self.done / self.seconds


class LoadError(Exception):
    """A generator failed, or not everything was answered as it must be."""


def percentiles(latencies):
    """The median and the 99th percentile."""
    if not latencies:
        raise LoadError("nothing was answered")
    ordered = sorted(latencies)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


def _run(command):
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode:
        raise LoadError(f"{command[0]} ended with status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def _find(pattern, text):
    match = re.search(pattern, text)
    if match is None:
        raise LoadError(f"no {pattern!r} in:\n{text}")
    return match


def _h2load(arguments, url):
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "requests.tsv"
        text = _run(["h2load", "-t", "1", "--log-file", log, *arguments, url])
        rows = [line.split("\t") for line in log.read_text().splitlines()]
    wrong = sum(status != "200" for _start, status, *_rest in rows)
    if wrong or not rows:
        raise LoadError(f"{wrong} of {len(rows)} requests were not answered with 200:\n{text}")
    p50, p99 = percentiles([int(row[2]) for row in rows])
    first = min(int(row[0]) for row in rows)
    last = max(int(row[0]) + int(row[2]) for row in rows)
    data = int(_find(r"\((\d+)\) data", text)[1])
    return Load(done=len(rows), seconds=(last - first) / 1e6, p50=p50, p99=p99, data=data)


def grpc(address, body, checks, *, connections=4, streams=16):
    """The same Check again and again: `body` is a file with its gRPC frame."""
    bounds = ["-n", checks, "-c", connections, "-m", streams, "-d", body]
    if isinstance(address, str):
        return _h2load([*bounds, *_GRPC, "-B", f"unix:{address}"], f"http://localhost{CHECK}")
    return _h2load([*bounds, *_GRPC], f"http://{address[0]}:{address[1]}{CHECK}")


def http_check(path, target, headers, checks, *, connections=64):
    """The same check over HTTP again and again, one at a time on each connection, at a Unix socket."""
    bounds = ["--h1", "-n", checks, "-c", connections, "-m", 1, *_lines(headers), "-B", f"unix:{path}"]
    return _h2load(bounds, f"http://airflow.example.com/check/airflow{target}")


def paced(url, headers, *, rate, seconds, connections=16):
    """HTTP/1.1 at a given rate."""
    count = max(connections, int(rate * seconds))
    bounds = ["--h1", "-n", count, "-c", connections, "--rps", f"{rate / connections:.3f}"]
    return _h2load([*bounds, *_lines(headers)], url)


def single(url, headers, *, count):
    """HTTP/1.1, one request at a time."""
    return _h2load(["--h1", "-n", count, "-c", 1, "-m", 1, *_lines(headers)], url)


def _lines(headers):
    return [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]


def saturate(url, headers, *, seconds, connections=32):
    """HTTP/1.1 as fast as it goes, with wrk."""
    text = _run(["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", *_lines(headers), url])
    if "Non-2xx" in text or "Socket errors" in text:
        raise LoadError(f"not every request was answered with 200:\n{text}")
    done = _find(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    p50, p99 = (float(m[1]) * _UNITS[m[2]] for m in (_find(rf"{q}%\s+([\d.]+)(us|ms|s|m)\b", text) for q in (50, 99)))
    return Load(done=int(done[1]), seconds=float(done[2]) * _UNITS[done[3]] / 1e6, p50=p50, p99=p99)
