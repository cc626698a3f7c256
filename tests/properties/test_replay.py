"""Every decision on record, with its identity entry, is decided again as it was, or a word says why it cannot be."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from authz.authn.run_identity import RunIdentities
from authz.check import wire
from authz.check.parts import Runs
from authz.core.caching.rate_limit import FairShare
from authz.core.errors import DeniedError
from authz.core.model import Allow
from authz.core.reasons import word_of
from authz.core.replay import Gap, decide_again, rebuild
from authz.core.request.canonical import canonical
from tests.support.examples import examples
from tests.support.factories.policies import narrowing
from tests.support.factories.proofs import CLAIM, GATE, GATE_KEY, prove, run_token, task_key
from tests.support.factories.tokens import NOW
from tests.support.rigs.service import POLICY, Rig, load, message

TASK = task_key()
RULES = """  - {id: some, plane: inbound, roles: [viewer], operations: ["dags:*", "dag_runs:read"], dags: ["sales*", x]}
  - {id: pages, plane: inbound, roles: [odd], paths: ["/**"], methods: [GET]}
  - {id: by-name, plane: inbound, roles: [alice], operations: ["pools:read"]}
  - {id: no-secrets, deny: true, plane: inbound, roles: [viewer, odd], dags: ["*_secret"]}
  - {id: runs, plane: egress, destinations: [orders], paths: ["/**"], dags: [sales_daily]}
  - {id: bearers, plane: egress, hosts: ["*.internal"], paths: ["/v1/*"], dags: ["sales*"], identity: verified-bearer}
  - {id: tunnel, plane: egress, roles: [sales-etl], hosts: [orders.internal], methods: [CONNECT]}
  - {id: no-x, deny: true, plane: egress, dags: [x]}
  - {id: agents"""
ROLES = """  odd: {groups: ["a b", "ü", "?"]}
  alice: {subjects: [alice]}
rules:
"""
POLICIES = [
    narrowing(load(POLICY.replace("  - {id: agents", RULES).replace("rules:\n", ROLES, 1))),
    load(POLICY),
]

SEGMENTS = ("api", "v2", "dags", "sales", "~", "dagRuns", "airflow", "a.b", "x;y", "a%20b", "%C3%A9", "@", "a%2Fb")
ODD_SEGMENTS = ("", "..", "%7E", "%64ags", "%20", "%E2%80%A8", "%25", "é", "x" * 900)
PATHS = (
    *("/api/v2/dags", "/api/v2/dags/sales", "/api/v2/dags/sales_secret", "/api/v2/dags/~/dagRuns", "/api/v2/dags/~x"),
    *("/api/v2/pools", "/api/v2/monitor/health", "/v1/orders", "/v1/orders/7", "/airflow", "/x?y=/z", "/", ""),
)
ODD_PATHS = ("*", "/" + "a" * 2046, "/" + "a" * 2047, "/" + "a" * 3000)
HOSTS = ("gate.test", "orders.internal", "orders.internal:80", "GATE.test:8443", "[::1]:1")
paths = st.one_of(
    st.sampled_from(PATHS),
    st.sampled_from(PATHS),
    st.lists(st.sampled_from(SEGMENTS), max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.lists(st.sampled_from(SEGMENTS + ODD_SEGMENTS), max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(ODD_PATHS),
)


def mostly(usual, *odd):
    """One of the usual ones, and from time to time an odd one."""
    return st.sampled_from([*(list(usual) * (1 + 4 * len(odd) // len(usual))), *odd])


groups = st.lists(
    st.sampled_from(["data-readers", "a b", "ü", "?", "unknown", "\ud800", "\ufffd", 'x","y', "\x00"]), max_size=4
)
persons = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["person", "person", "large"]),
        "groups": groups,
        "client_id": st.sampled_from(["cli", "sales-etl", "copilot", ""]),
        "sub": st.sampled_from(["alice", "bob", "b\udfffb", "é"]),
    }
)
callers = (
    persons
    | st.sampled_from([{"kind": "anonymous"}, {"kind": "expired"}])
    | st.fixed_dictionaries({"kind": st.sampled_from(["run", "bearer", "asserted", "account"]), "dag": st.sampled_from(
        ["sales_daily", "sales", "x", "d\udc00"])})
)  # fmt: skip
requests = st.fixed_dictionaries(
    {
        "plane": mostly(["inbound", "egress"], "execution", ""),
        "method": mostly(["GET", "GET", "POST", "DELETE", "CONNECT"], "get"),
        "base": mostly(["", "", "/airflow", "/a.b"], "/airflow/"),
        "below": st.booleans(),
        "path": paths,
        "host": mostly(HOSTS, "a@b"),
        "dags": st.sampled_from(["", "narrowed"]),
        "destination": st.sampled_from(["orders", "", "files"]),
        "set_host": st.sampled_from(["", "", "orders.internal"]),
        "upstream": st.sampled_from(["airflow", "", 'x"']),
    }
)


class _States:
    """Every task runs."""

    def seen(self, *_):
        return True

    look = leave = None


class _Fresh:
    """No proof was used before."""

    def first(self, *_):
        return True


def service(*, isolated=True):
    rig = Rig(max_token_bytes=99_999)
    identities = RunIdentities(
        authenticator=rig.authenticator,
        keys={GATE_KEY.kid: GATE_KEY.private.public_key()},
        issuer=GATE,
        isolated=isolated,
        states=_States(),
        replays=_Fresh(),
        share=FairShare(100_000, 60),
    )
    rig.service._runs = Runs(identities=identities, exchange=None, count=lambda *_: None)
    return rig


def token_of(rig, who, plane):
    """A token of an issuer."""
    claims = {name: who[name] for name in ("groups", "client_id", "sub") if name in who}
    claims["client_id"] = claims.get("client_id") or None
    pad = "x" * 14_000 if who["kind"] == "large" else ""
    exp = NOW - 100 if who["kind"] == "expired" else NOW + 540
    audience = "airflow-egress" if plane == "egress" else "airflow"
    return rig.token(**{"realm_access": None, "pad": pad, "exp": exp, "iat": NOW - 200, "aud": audience, **claims})


def headers_of(rig, who, asked):
    kind, plane = who["kind"], asked["plane"]
    if kind == "anonymous":
        return []
    if kind in {"person", "large", "expired"} or plane != "egress":
        return [("authorization", f"Bearer {token_of(rig, who, plane)}".encode())]
    claim = {**CLAIM, "dag_id": who["dag"]}
    if kind == "bearer":
        return [("proxy-authorization", f"Bearer {run_token(airflow=claim)}".encode())]
    account = token_of(rig, {"kind": kind, "client_id": "sales-etl", "groups": ["a b"]}, plane)
    if kind == "account":
        return [("proxy-authorization", f"Bearer {account}".encode())]
    token = run_token(TASK, airflow=claim) if kind == "run" else account
    said = {"htm": asked["method"], "htu": f"http://{asked['host']}{asked['path'].partition('?')[0]}"}
    if kind == "asserted":
        said["airflow"] = claim
    return [("x-run-identity", f"DPoP {token}".encode()), ("x-run-proof", prove(TASK, token, **said))]


def explained(gap, record):
    """Whether the word that says why is true."""
    if gap is Gap.PATH_CUT:
        return len(record["path"]) == 2048
    if gap is Gap.REPLACED:
        return "\ufffd" in json.dumps(record, ensure_ascii=False) or bool(record["identity"])
    return gap in {Gap.NO_CANONICAL_FORM, Gap.REFUSED_TOKEN, Gap.NOT_EVALUATED} and not record["rule"]


RUN_CALL = {
    "plane": "egress", "method": "GET", "below": False,
    "path": "/v1/orders", "host": "orders.internal", "base": "", "dags": "",
    "destination": "orders", "set_host": "", "upstream": "",
}  # fmt: skip


@examples(400)
@given(st.lists(st.tuples(callers, requests, st.sampled_from(POLICIES)), min_size=1, max_size=6))
@example([({"kind": kind, "dag": "sales_daily"}, RUN_CALL, POLICIES[0]) for kind in ("run", "bearer", "asserted")])
@example([({"kind": "run", "dag": "d\udc00"}, RUN_CALL, POLICIES[0])])
def test_what_is_on_record_is_decided_again_as_it_was(story):
    rig = service()
    for who, asked, policy in story:
        rig.policy = policy
        sent = sent_by(rig, who, asked)
        for _ in range(2):  # the second time from memory; a proof is as good as new
            rig.service.check(sent)
            agree(rig, sent, policy)


def sent_by(rig, who, asked):
    """What Envoy asks about the request."""
    if asked["plane"] == "egress" and asked["method"] == "CONNECT":
        asked = {**asked, "path": asked["host"], "base": "", "set_host": ""}
    elif asked["below"]:
        asked = {**asked, "path": asked["base"] + asked["path"]}
    return message(
        asked["method"], asked["path"], headers=headers_of(rig, who, asked), plane=asked["plane"],
        audience=asked["upstream"], host=asked["host"], base=asked["base"], dags=asked["dags"],
        destination=asked["destination"], extensions={"host": asked["set_host"]},
    )  # fmt: skip


def agree(rig, sent, policy):
    """The newest record is decided again as it was."""
    record = rig.record
    entries = {entry["id"]: entry for entry in rig.sink.entries}
    case = rebuild(json.loads(json.dumps(record)), entries)
    decision = decide_again(case, policy) if not isinstance(case, Gap) else case
    if isinstance(decision, Gap):
        assert explained(decision, record), (decision, record)
        return
    told = (record["decision"], record["reason"], record["rule"], record["operation"], record["dag"])
    rule = decision.rule, decision.operation, decision.dag_id
    assert told == (word_of(decision.reason), decision.reason, *rule)
    assert isinstance(decision, Allow) == (record["decision"] == "allow")
    assert case.request == canonical_of(sent)


def canonical_of(sent):
    try:
        return canonical(wire.parse(sent))
    except DeniedError:
        return None
