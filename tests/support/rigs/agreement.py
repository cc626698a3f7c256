"""A pair of random policies, and one gate that answers real requests under either of them. Test support.

made = pair(rng, plane)                       two policies with one set of issuers; teams and ends here and there
gate = Gate()
gate.ask(question, policy, candidate)         the record of a real CheckRequest with a real token, and its lines
"""

import json
import re
from dataclasses import dataclass, replace
from math import inf

from authz._generated.envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from authz.check.assertions import AssertionMinter
from authz.check.shadow import Candidate, Shadow
from authz.cli import ask
from authz.core.cases.callers import SOMEONE
from authz.core.errors import PolicyError
from authz.core.grants import Holding
from authz.core.model import HeldGrant, Level, Plane, Request, Run
from authz.core.policy import Bundle, Policy, as_of
from authz.core.policy.overlap import glob_of
from authz.core.proof.callers import ANONYMOUS, RUN, Caller, Kind, Membership
from authz.core.request.check_words import request_words, run_words
from authz.core.shadow import Changes
from authz.ops.metrics import Metrics
from tests.properties.test_ends import with_ends
from tests.properties.test_replay import TASK
from tests.properties.test_replay import service as with_runs
from tests.support.factories import small_policies
from tests.support.factories.proofs import CLAIM, prove, run_token
from tests.support.factories.tokens import ISS, NOW
from tests.support.rigs.service import KEY, message, state_of

TEAMS = [{"names": ["a", "b"], "dags": ["{team}*"]}]
GROUPS = [*small_policies.GROUPS, "a-g", "b-g", "of-no-policy"]
ISSUERS = {"corp": ISS, "people": "https://people.example.com"}
AUDIENCES = {Plane.INBOUND: "airflow", Plane.EGRESS: "outbound"}
TOKENS = 2_000  # signed ones that are kept


@dataclass(frozen=True)
class Question:
    """One request and who sends it: a caller with a token or without one, a run, or both."""

    request: Request
    who: Caller | None
    run: Run | None = None

    @property
    def caller(self):
        """The caller as the prover knows it."""
        return self.who or (ANONYMOUS if self.run is None else RUN)

    @property
    def words(self):
        """What `authz check` is asked."""
        named = {Kind.GROUP: "--group", Kind.CLIENT: "--client", Kind.SUBJECT: "--as", Kind.GRANT: "--grant"}
        words = [*request_words(self.request), *run_words(self.run, of_account=self.who is not None)]
        if self.who is not None:
            words += ["--issuer", self.who.issuer]
            words += [word for held in self.who.memberships for word in (named[held.kind], held.value)]
        return words


@dataclass(frozen=True)
class Pair:
    """Two policies as they are written, and as files."""

    plane: Plane
    made: tuple[dict, dict]
    written: tuple[Policy, Policy]

    @property
    def now(self):
        """Both as they are at the gate's time."""
        return tuple(as_of(policy, NOW) for policy in self.written)


def bundle(made, **sections):
    """The policy as files, with more sections."""
    return Bundle(small_policies.text({**made, **sections}).encode(), "policy.yaml")


def pair(rng, plane):
    """A pair that loads; the second policy is often near the first."""
    while True:
        try:
            return _drawn(rng, plane)
        except PolicyError:  # a rule for all teams that is none
            continue


def _drawn(rng, plane):
    first, _ = small_policies.policy(rng, plane.value)
    first["issuers"] = [{**one, "groups": ["groups"], "algorithms": ["ES256"]} for one in first["issuers"]]
    first["issuers"][0]["issuer"] = ISS
    second, _ = small_policies.policy(rng, plane.value, first)
    made = [first, second]
    if rng.random() < 0.3:
        made = [_with_teams(rng, plane, one) for one in made]
    if rng.random() < 0.4:
        made = [with_ends(rng, one) for one in made]
    return Pair(plane, tuple(made), tuple(small_policies.loaded(one) for one in made))


def _with_teams(rng, plane, made):
    """The policy with a role for all teams, and some rules."""
    rules = []
    for number in range(rng.randint(1, 2)):
        rule = {**small_policies.rule(rng, number, plane.value), "id": f"t{number}"}
        if rule.get("public"):
            continue
        rule["dags"] = "team"
        if plane is Plane.INBOUND or rng.random() < 0.5:
            rule["roles"] = ["{team}-r"]
            rule.pop("identity", None)
        else:
            rule.pop("roles", None)
        rules.append(rule)
    roles = {**made["roles"], "{team}-r": {"groups": ["{team}-g"]}}
    return {**made, "teams": TEAMS, "roles": roles, "rules": [*made["rules"], *rules]}


def questions(rng, plane, policies, count):
    """Requests by all kinds of callers whose tokens the first policy accepts on the plane.

    They hold grants of entries that both have: a record names those that count under the policy in force.
    """
    policy, entries = policies[0], sorted(policies[0].grantable.keys() & policies[1].grantable.keys())
    issuers = [one.name for one in policy.issuers.values() if plane in one.audiences]
    for request, run in small_policies.requests(rng, plane, count):
        who = _account(rng, rng.choice(issuers), entries) if issuers and rng.random() < 0.85 else None
        if run is None:
            yield Question(request, who)
        elif run.level is Level.ASSERTED and who is not None and request.method != "CONNECT":
            yield Question(request, who, run)
        elif run.level is Level.VERIFIED and request.method == "CONNECT":
            yield Question(request, None, run._replace(level=Level.VERIFIED_BEARER))
        else:
            yield Question(request, None, run)


def _account(rng, issuer, entries):
    held = [Membership(Kind.GROUP, group) for group in GROUPS if rng.random() < 0.3]
    if rng.random() < 0.3:
        held.append(Membership(Kind.CLIENT, rng.choice(["c0", "c1"])))
    held += [Membership(Kind.GRANT, entry) for entry in entries if rng.random() < 0.3]
    if rng.random() < 0.3 or not held:
        held.append(Membership(Kind.SUBJECT, rng.choice(["s0", "alice"])))
    return Caller(issuer, tuple(held))


def of_words(words, plane):
    """The question that the words of `authz check` ask."""
    said = options_of(words)
    held = [*(Membership(Kind.GROUP, group) for group in said["groups"])]
    held += [Membership(Kind.GRANT, entry) for entry in said["grants"]]
    held += [
        Membership(kind, said[name])
        for kind, name in ((Kind.CLIENT, "client"), (Kind.SUBJECT, "subject"))
        if said[name]
    ]
    who = Caller(said["issuer"], tuple(held)) if held else None
    run = None
    if said["dag"]:
        run = Run(said["dag"], "r", said["task"], -1, 1, Level(said["level"] or Level.ASSERTED))
    path = "" if said["method"] == "CONNECT" else said["url"]
    host = said["host"] or said["url"].rpartition(":")[0]
    request = Request(
        plane=plane, method=said["method"], host=host, port=None, path=path, segments=tuple(path[1:].split("/")),
        narrowed=bool(said["narrowed"]), destination=said["destination"],
    )  # fmt: skip
    return Question(request, who, run)


def options_of(words):
    """What `authz check` reads in its words."""
    return ask.check.make_context("check", [*words]).params


def fits(patterns, text):
    return any(glob_of(pattern).matches(text) for pattern in patterns)


def on_host(pattern, host):
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def on_path(pattern, path):
    """What docs/policy.md says of path patterns, as a regular expression."""
    begin, deep = (pattern.removesuffix("/**"), "(/.*)?") if pattern.endswith("/**") else (pattern, "")
    parts = re.split(r"(\{[^}]*\}|\*)", begin)
    text = "".join("[^/]+" if part.startswith("{") else "[^/]*" if part == "*" else re.escape(part) for part in parts)
    return re.fullmatch(text + deep, path) is not None


class _Lines:
    """A sink that keeps the lines, and the newest decision."""

    file, offers = 1, ()

    def __init__(self):
        self.record, self.lines = None, []

    def turn(self):
        pass

    def put(self, lines):
        self.lines += lines.splitlines()
        for found in map(json.loads, lines.splitlines()):
            if found["type"] == "decision":
                self.record = found
        return True


class Gate:
    """One service with everything real but clock, sink and the keys' origin; it remembers what it may."""

    def __init__(self):
        self._candidate = None
        self._tokens = {}
        self._sink = _Lines()
        self._rigs = {isolated: self._made(isolated=isolated) for isolated in (True, False)}

    def _made(self, *, isolated):
        """A service; where Airflow's key is not isolated from tasks, it only believes that runs are asserted."""
        rig = with_runs(isolated=isolated)
        rig.keys = {name: replace(state_of(KEY), issuer=url) for name, url in ISSUERS.items()}
        rig.service._answers._minter = AssertionMinter([], issuer="", lifetime=60)
        rig.service._shadow = Shadow(lambda: self._candidate, Metrics())
        rig.service._recorder._sink = self._sink
        return rig

    def serve(self, policy, candidate):
        """The policy in force from here on, and the candidate beside it."""
        for rig in self._rigs.values():
            rig.policy = policy
        self._candidate = Candidate(policy=candidate, beside=policy, changes=Changes(policy, candidate))

    def ask(self, question):
        """The record of the gate's answer."""
        run = question.run
        only_asserted = question.who is None and run is not None and run.level is Level.ASSERTED
        rig = self._rigs[not only_asserted]
        rig.authenticator._granted.put(self._holdings(question.who))
        answer = CheckResponse.FromString(rig.service.check(self._message(question)))
        record = self._sink.record
        assert (answer.status.code == 0) == (record["decision"] == "allow")
        return record

    def _holdings(self, who):
        """What the caller holds, and someone else."""
        holders = [("people", "of-no-question", "e0")]
        if who is not None:
            subject = self._claims(who)["sub"]
            holders += [(who.issuer, subject, one.value) for one in who.memberships if one.kind is Kind.GRANT]
        return tuple(
            Holding(
                issuer=ISSUERS[issuer],
                subject=subject,
                held=HeldGrant(entry, f"g-{entry}", inf, 3600, is_approved=True),
            )
            for issuer, subject, entry in holders
        )

    def lines(self):
        """The lines of the log since the last time, with those of all callers."""
        found = self._sink.lines
        self._sink.lines = [line for line in found if b'"type":"identity"' in line]
        return found

    def _message(self, question):
        request = question.request
        target = request.path or f"{request.host}:443"  # of a tunnel
        return message(
            request.method, target, headers=self._headers(question), plane=request.plane.value,
            host=request.host if request.path else target,
            audience="airflow", dags="narrowed" if request.narrowed else "", destination=request.destination,
        )  # fmt: skip

    def _headers(self, question):
        request, run, token = question.request, question.run, self._token(question)
        if run is None:
            return [("authorization", f"Bearer {token}".encode())] if token else []
        claim = {**CLAIM, "dag_id": run.dag_id, "task_id": run.task_id}
        if run.level is Level.VERIFIED_BEARER or not (token or run.level is Level.VERIFIED):
            return [("proxy-authorization", f"Bearer {run_token(airflow=claim)}".encode())]
        said = {"htm": request.method, "htu": f"http://{request.host}{request.path}"}
        if run.level is Level.ASSERTED:
            said["airflow"] = claim
        token = token or run_token(TASK, airflow=claim)
        return [("x-run-identity", f"DPoP {token}".encode()), ("x-run-proof", prove(TASK, token, **said))]

    def _token(self, question):
        if question.who is None:
            return ""
        key = question.who, question.request.plane
        if key not in self._tokens:
            if len(self._tokens) > TOKENS:
                self._tokens.clear()
            self._tokens[key] = self._signed(*key)
        return self._tokens[key]

    def _signed(self, who, plane):
        return self._rigs[True].token(
            **self._claims(who), realm_access=None, exp=NOW + 540, iat=NOW - 200, aud=AUDIENCES[plane]
        )

    @staticmethod
    def _claims(who):
        held = {kind: [one.value for one in who.memberships if one.kind is kind] for kind in Kind}
        client, subject = (next(iter(held[kind]), "") for kind in (Kind.CLIENT, Kind.SUBJECT))
        named = {"sub": subject or client or SOMEONE, "client_id": client or None, "groups": held[Kind.GROUP]}
        return {"iss": ISSUERS[who.issuer], **named}
