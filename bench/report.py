"""The table for people and `bench.json` for everything else."""

import json

from bench.samples import paired

# The goals of the ratios: how the measured value must stand to the number. A full run that misses one says so.
GOALS = {
    "cpu_vs_echo": ("<=", 1.6),
    "cpu_vs_aio": ("<=", 0.35),
    "http_vs_grpc": ("<=", 2.0),
    "rules_10k_vs_10": ("<=", 1.2),
    "uncached_rs256_extra_us": ("<=", 45.0),
    "throughput_vs_native": (">=", 0.75),
    "p50_vs_native": ("<=", 2.2),
    "parked_4000_vs_none": ("<=", 1.1),
    "worker_rss_mb": ("<=", 150.0),
    "ready_s": ("<=", 1.5),
}
_MEANING = {
    "cpu_vs_echo": "CPU per check, ours / bare echo",
    "cpu_vs_aio": "CPU per check, ours / the same handler on grpc.aio",
    "http_vs_grpc": "CPU per check, over HTTP / over gRPC",
    "rules_10k_vs_10": "CPU per check, 10,000 rules / 10 rules",
    "uncached_rs256_extra_us": "CPU µs, a new RS256 token - a cached one",
    "throughput_vs_native": "through Envoy at saturation, ours (1 worker) / jwt_authn + rbac",
    "p50_vs_native": "through Envoy unloaded, p50, ours / jwt_authn + rbac",
    "parked_4000_vs_none": "CPU per check, while 4,000 calls wait for Airflow / while none does",
    "worker_rss_mb": "MB, one worker, 10,000 rules, 100,000 cached tokens",
    "ready_s": "s, start to the first allow, 10,000 rules",
    "log_on_vs_off": "CPU per check, decision log to a file / to /dev/null",
    "cpu_vs_threads": "CPU per check, ours / the same handler on grpc.server",
    "cpu_vs_peer": "CPU per check, ours / peer",
    "headers_40_vs_14": "CPU per check, 40 headers / 14 headers",
    "uncached_es256_extra_us": "CPU µs, a new ES256 token - a cached one",
    "uncached_eddsa_extra_us": "CPU µs, a new EdDSA token - a cached one",
    "assertion_extra_us": "CPU µs, signing an assertion for a new token",
    "run_proxy_extra_us": "CPU µs, a call of a run by its token for proxies - of a service account",
    "run_proof_extra_us": "CPU µs, a call of a run with a proof - of a service account",
    "call_vs_direct_us": "a task's call with a proof, p50, through the gate - straight to the destination",
    "call_vs_unguarded_us": "a task's call with a proof, p50, through the gate - through Envoy without authorization",
    "call_over_direct": "a task's call, p50, through the gate / straight to the destination",
    "call_over_unguarded": "a task's call, p50, through the gate / through Envoy without authorization",
    "credential_over_none": "a task's call, p50, Envoy adds a credential / it adds none",
    "credential_cpu_over_none": "a task's call, Envoy's CPU, it adds a credential / it adds none",
    "throughput_vs_native_2_workers": "through Envoy at saturation, ours (2 workers) / jwt_authn + rbac",
    "added_cpu_us": "CPU µs per request that ours adds at half load, Envoy's and the server's",
    "http_added_cpu_us": "CPU µs per request that ours adds at half load where Envoy asks over HTTP",
    "native_added_cpu_us": "CPU µs per request that jwt_authn + rbac add at half load",
}
_COLUMNS = {
    "check": ("cpu_us", "rate", "p50_us", "p99_us", "peak_mb"),
    "token": ("cpu_us", "rate", "p50_us", "p99_us", "peak_mb"),
    "egress": ("cpu_us", "rate", "p50_us", "p99_us", "peak_mb"),
    "call": ("envoy_cpu_us", "cpu_us", "one_p50_us", "one_p99_us"),
    "envoy": ("envoy_cpu_us", "cpu_us", "rate", "p50_us", "p99_us", "peak_mb"),
    "half": ("half_envoy_cpu_us", "half_cpu_us", "half_rate", "half_p50_us", "half_p99_us", "one_p50_us"),
    "size": ("ready_s", "rss_mb", "peak_mb"),
}
_HEADS = {
    "cpu_us": "CPU µs",
    "rate": "per second",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "peak_mb": "peak MB",
    "envoy_cpu_us": "Envoy CPU µs",
    "half_envoy_cpu_us": "Envoy CPU µs",
    "half_cpu_us": "CPU µs",
    "half_rate": "per second",
    "half_p50_us": "p50 µs",
    "half_p99_us": "p99 µs",
    "one_p50_us": "unloaded p50 µs",
    "one_p99_us": "unloaded p99 µs",
    "ready_s": "ready s",
    "rss_mb": "RSS MB",
}
TITLES = {
    "check": "One Check, straight to the server (4 connections, 16 calls on each)",
    "token": "One Check with a token that was or was not seen before",
    "egress": "One Check of a task's call out",
    "call": "A task's call of a destination, one at a time",
    "envoy": "Through Envoy at saturation (32 connections)",
    "half": "Through Envoy at half of that, and unloaded",
    "size": "One worker",
}


def _divide(upper, lower):
    return upper / lower


def _minus(upper, lower):
    return upper - lower


def _added(rows, key):
    """CPU per request of Envoy and the server together, less Envoy's without authorization."""
    base, row = rows["none"].median("half_envoy_cpu_us"), rows[key]
    return row.median("half_envoy_cpu_us") + (row.median("half_cpu_us") or 0.0) - base


def ratios(rows, scale):
    """The judged ratios, and others worth knowing. `scale` is how far the token cache was from 100,000 tokens."""

    def over(upper, lower, name="cpu_us", combine=_divide):
        return paired(rows[upper], rows[lower], name, combine) if {upper, lower} <= set(rows) else None

    start, memory = rows["start"], rows["memory"]
    empty, full = memory.median("empty_mb"), memory.median("rss_mb")
    judged = {
        "cpu_vs_echo": over("ours", "echo"),
        "cpu_vs_aio": over("ours", "aio"),
        "http_vs_grpc": over("http", "ours"),
        "rules_10k_vs_10": over("rules_10000", "rules_10"),
        "uncached_rs256_extra_us": over("token_RS256", "token_cached", combine=_minus),
        "throughput_vs_native": over("ours_1", "native", "rate"),
        "p50_vs_native": over("ours_1", "native", "one_p50_us"),
        "parked_4000_vs_none": over("parked_4000", "parked_0"),
        "worker_rss_mb": empty + (full - empty) * scale,
        "ready_s": start.median("ready_s"),
    }
    more = {
        "log_on_vs_off": over("log_on", "ours"),
        "cpu_vs_threads": over("ours", "threads"),
        "cpu_vs_peer": over("ours", "peer"),
        "headers_40_vs_14": over("headers_40", "ours"),
        "uncached_es256_extra_us": over("token_ES256", "token_cached", combine=_minus),
        "uncached_eddsa_extra_us": over("token_EdDSA", "token_cached", combine=_minus),
        "assertion_extra_us": over("token_assertion", "token_RS256", combine=_minus),
        "run_proxy_extra_us": over("egress_proxy", "egress_service", combine=_minus),
        "run_proof_extra_us": over("egress_proof", "egress_service", combine=_minus),
        "call_vs_direct_us": over("call_proof", "call_direct", "one_p50_us", _minus),
        "call_vs_unguarded_us": over("call_proof", "call_unguarded", "one_p50_us", _minus),
        "call_over_direct": over("call_service", "call_direct", "one_p50_us"),
        "call_over_unguarded": over("call_service", "call_unguarded", "one_p50_us"),
        "credential_over_none": over("call_credential", "call_service", "one_p50_us"),
        "credential_cpu_over_none": over("call_credential", "call_service", "envoy_cpu_us"),
        "throughput_vs_native_2_workers": over("ours_2", "native", "rate"),
        "added_cpu_us": _added(rows, "ours_1"),
        "native_added_cpu_us": _added(rows, "native"),
        "http_added_cpu_us": _added(rows, "ours_http"),
    }
    return _rounded(judged), _rounded({name: value for name, value in more.items() if value is not None})


def _rounded(values):
    return {name: None if value is None else round(value, 3) for name, value in values.items()}


def met(name, value):
    """Whether a judged ratio reaches its goal."""
    sign, goal = GOALS[name]
    return value is not None and (value <= goal if sign == "<=" else value >= goal)


def _number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cell(row, name):
    sample = row.get(name)
    if sample is None:
        return "-"
    spread = (
        f" ({_number(sample['low'])}-{_number(sample['high'])})" if name.endswith("cpu_us") or "rate" in name else ""
    )
    return _number(sample["median"]) + spread


def sections(result):
    """Title, heads and lines of every table: what is printed, and what the documentation shows."""
    for group, columns in _COLUMNS.items():
        rows = [row for row in result["rows"] if row["group"] == ("envoy" if group == "half" else group)]
        lines = [[row["label"], *(_cell(row, name) for name in columns)] for row in rows]
        yield TITLES[group], ["", *(_HEADS[name] for name in columns)], lines
    lines = []
    for name, value in {**result["ratios"], **result["more"]}.items():
        goal = f"{GOALS[name][0]} {GOALS[name][1]:g}" if name in GOALS else ""
        verdict = ("yes" if met(name, value) else "no") if name in GOALS else ""
        lines.append([f"{name}: {_MEANING[name]}", "-" if value is None else f"{value:g}", goal, verdict])
    yield "Ratios, from samples of the same round", ["", "measured", "goal", "reached"], lines


def text(result):
    """The whole report in columns."""
    out = ["", "  ".join(f"{name}={value}" for name, value in result["about"].items())]
    for title, heads, lines in sections(result):
        widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
        out += ["", title]
        for line in [heads, *lines]:
            first, *rest = (
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            out.append("  ".join([first, *rest]).rstrip())
    return "\n".join([*out, ""])


def write(path, result):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
