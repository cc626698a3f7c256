"""Every command and the gate have one definition of who may do what: none of their answers contradicts another.

For each pair of random policies the gate answers real CheckRequests with real tokens under both; then the differ, the
prover of `never`, `who-can`, `what-can`, `matrix`, the log's replay, the shadow, `authz check` and the policy's own
tests are asked about the same pair. More than ten thousand pairs of policies and requests when all tests run.
"""

import random
from collections import Counter
from itertools import pairwise

import pytest

from authz.cli.ask import _question
from authz.cli.asking import answer
from authz.cli.served import Served
from authz.core import cases
from authz.core.cases.invariants import proofs
from authz.core.decision.decide import evaluate, narrows, route_of, shows
from authz.core.errors import PolicyError
from authz.core.model import Allow, Plane
from authz.core.policy import as_of, ends
from authz.core.policy.index import METHOD_KEYS
from authz.core.proof.access import all_callers, calls, cells, roles
from authz.core.proof.diff import gained
from authz.core.proof.nothing import without_rules
from authz.core.proof.periods import periods
from authz.core.reasons import DENIED_BY_POLICY, Reason
from authz.core.shadow.report import Report
from authz.core.traffic.changes import Comparison, Outcome
from authz.core.traffic.evaluating import Traffic
from tests.support.examples import SHARE
from tests.support.factories import small_policies
from tests.support.factories.tokens import NOW
from tests.support.rigs.agreement import Gate, bundle, fits, of_words, on_host, on_path, options_of, pair, questions

PARTS = 8  # of the test, on each plane: each takes half a minute
PAIRS = max(4, round(17 * SHARE))  # of policies, in each part
REQUESTS = 40  # of each pair
IN_TESTS = 6  # of these become tests of the policy
SEEN = {plane: Counter() for plane in Plane}
EVALUATED = {Reason.RULE, Reason.PUBLIC, *DENIED_BY_POLICY}


@pytest.mark.parametrize("_part", range(PARTS))
@pytest.mark.parametrize("plane", [Plane.INBOUND, Plane.EGRESS])
def test_no_answer_contradicts_another(plane, _part):
    first, gate, seen = random.randrange(1_000_000), Gate(), SEEN[plane]  # noqa: S311 no secret
    for seed in range(first, first + PAIRS):
        try:
            asked_about(random.Random(seed), plane, gate, seen)  # noqa: S311 no secret
        except AssertionError as error:
            error.add_note(f"the pair of policies of the seed {seed}, on the plane {plane}")
            raise
    seen["parts"] += 1


@pytest.mark.parametrize("plane", [Plane.INBOUND, Plane.EGRESS])
def test_all_kinds_of_answers_were_compared(plane):
    """Of all parts together, and where all of them ran here."""
    seen = SEEN[plane]
    if seen["parts"] == PARTS:
        assert seen["pairs"] == PARTS * PAIRS * REQUESTS
        usual = {"gains", "losses", "witnesses", "cells" if plane is Plane.INBOUND else "calls", "tests"}
        assert min(seen[name] for name in (*usual, "holds", "broken")) > 0, seen


def asked_about(rng, plane, gate, seen):
    """One pair, and all questions."""
    made = pair(rng, plane)
    old, new = made.now
    asked = [*questions(rng, plane, (old, new), REQUESTS)]
    gate.lines()
    gate.serve(old, new)
    before = [gate.ask(one) for one in asked]
    lines = gate.lines()
    gate.serve(new, old)
    after = [gate.ask(one) for one in asked]
    assert {Reason(record["reason"]) for record in (*before, *after)} <= EVALUATED
    verdicts = [*zip(asked, before, after, strict=True)]
    allowed = gate_of(gate)
    for policy, answers in ((old, before), (new, after)):
        check_engine(policy, zip(asked, answers, strict=True))
    check_shadow(verdicts, old, new)
    check_replay(lines, made.written, verdicts)
    check_diff(made.written, verdicts, allowed, seen)
    check_rights(old, plane, zip(asked, before, strict=True), allowed, seen)
    check_never(rng, made, zip(asked, before, strict=True), allowed, seen)
    check_tests(made, old, zip(asked, before, strict=True), seen)
    seen["pairs"] += len(asked)


def gate_of(gate):
    """Whether the gate allows a question, or what the words of `authz check` ask, under a policy."""

    def allowed(question, policy):
        gate.serve(policy, policy)
        return gate.ask(question)["decision"] == "allow"

    return allowed


def decided(record):
    return record["decision"], record["reason"], record["rule"]


def said(decision):
    return "allow" if isinstance(decision, Allow) else "deny", decision.reason.value, decision.rule


def check_engine(policy, answers):
    """The engine and `authz check` answer as the gate."""
    for question, record in answers:
        identity = question.caller.identity(policy, question.run)
        assert said(evaluate(question.request, identity, policy)) == decided(record), question
        options = options_of(question.words)
        options = {name: options[name] for name in options if name not in NOT_ASKED}
        found = answer(_question(options), Served(policy=policy, at=NOW)).decision
        assert said(found) == decided(record), question.words


NOT_ASKED = {"policy_path", "settings_path", "gate", "at", "airflow", "as_json", "requests_file"}


def check_shadow(verdicts, old, new):
    """What each record says about its candidate is what the gate answers with the candidate in force."""
    report, differ = Report(), 0
    for question, before, after in verdicts:
        for record, other, candidate in ((before, after, new), (after, before, old)):
            shadow = record["shadow"]
            assert shadow["revision"] == candidate.revision[:12]
            assert tuple(shadow.get(name, record[name]) for name in ("decision", "reason", "rule")) == decided(other), (
                question
            )
        report.add(before)
        differ += before["decision"] != after["decision"]
    (tally,) = report.candidates.values()
    assert tally.compared == len(verdicts)
    assert tally.outcomes["gain"] + tally.outcomes["loss"] == differ


def check_replay(lines, written, verdicts):
    """The log of the one policy, evaluated again under both as they are written."""
    expected = Counter()
    for _, before, after in verdicts:
        if before["decision"] != after["decision"]:
            expected[Outcome.ALLOWED if after["decision"] == "allow" else Outcome.DENIED] += 1
        else:
            expected[Outcome.SAME if decided(before) == decided(after) else Outcome.OTHER_REASON] += 1
    for policy, wanted in ((written[0], {Outcome.SAME: len(verdicts)}), (written[1], expected)):
        traffic = Traffic(policy, Comparison(policy))
        for line in lines:
            traffic.learn(line)
        for line in lines:
            traffic.read(line)
        found = Counter()
        for kind, tally in traffic.found.items():
            found[kind.outcome] += tally.count
        assert (found, traffic.unknown) == (wanted, {})


def check_diff(written, verdicts, allowed, seen):
    """The differ names each gain and loss that the gate shows, now and after each end, and none that it does not."""
    old, new = written
    found = periods(old, new, NOW)
    alone = periods(old, new, NOW, only_gains=True)
    gains = [(one.since, tuple(change for change in one.changes if change.gained)) for one in found]
    steps = [gains[0], *(later for sooner, later in pairwise(gains) if sooner[1] != later[1])]
    assert steps == [(one.since, one.changes) for one in alone]
    for since in (NOW, *(end for end in ends(old) + ends(new) if end > NOW)):
        changes = [one for one in found if one.since <= since][-1].changes
        policies = as_of(old, since), as_of(new, since)
        for question, before, after in verdicts:
            may = [evaluate(question.request, question.caller.identity(one, question.run), one) for one in policies]
            if since == NOW:
                assert [said(one) for one in may] == [decided(before), decided(after)]
            check_change(question, policies, may, changes, seen)
    for change in found[0].changes:
        assert change.witness is not None
        witness = of_words(change.witness.words, change.plane)
        both = [shown(witness, policy, change.witness.shows, allowed) for policy in (as_of(old, NOW), as_of(new, NOW))]
        assert both == ([False, True] if change.gained else [True, False]), change
        seen["witnesses"] += 1


def shown(question, policy, dag, allowed):
    """Whether the gate allows it and, if `dag` is one, Airflow shows the DAG."""
    permitted = allowed(question, policy)
    return permitted and shows(question.request, question.caller.identity(policy, question.run), policy, dag)


def check_change(question, policies, may, changes, seen):
    """A request, and each DAG of a list, that only one policy allows is among the changes."""
    results = [isinstance(one, Allow) for one in may]
    if results[0] != results[1]:
        gain, decision = results[1], may[results[1]]
        seen["gains" if gain else "losses"] += 1
        assert any(one.gained is gain and names(one, question, decision) for one in changes), (question, may)
    identities = [question.caller.identity(one, question.run) for one in policies]
    if all(results) and narrows(question.request, identities[0], route_of(question.request, policies[0])):
        for dag in small_policies.DAGS:
            pairs = zip(identities, policies, strict=True)
            both = [shows(question.request, identity, policy, dag) for identity, policy in pairs]
            assert both[0] == both[1] or any(
                one.gained is both[1] and names(one, question, may[both[1]], dag) for one in changes
            ), (question, dag)


def names(change, question, decision, shows_dag=""):
    """Whether a change, or a right, is about the question; `decision` is the one that allows it."""
    request, run = question.request, question.run
    if change.plane is not request.plane or not any(is_one(change, caller, question) for caller in change.callers):
        return False
    if request.plane is Plane.INBOUND:
        about = (decision.operation in change.operations) if decision.operation else not change.operations
        dag = shows_dag or ("" if request.narrowed and decision.dag_id == "~" else decision.dag_id)
        about = about and (not dag or not change.dags or fits(change.dags, dag))
    else:
        about = not (change.dags or change.tasks or change.levels) or run is not None
        about = (about and not change.destinations) or request.destination in change.destinations
        if run is not None:
            about = about and (not change.dags or fits(change.dags, run.dag_id))
            about = about and (not change.tasks or fits(change.tasks, run.task_id))
            about = about and (not change.levels or run.level.value in change.levels)
    return (
        about
        and (not change.hosts or any(on_host(text, request.host) for text in change.hosts))
        and (
            not change.methods or not {request.method, *METHOD_KEYS.get(request.method, ())}.isdisjoint(change.methods)
        )
        and (not change.paths or any(on_path(text, request.path) for text in change.paths))
    )


def is_one(change, caller, question):
    """Whether the sender is one of those that a caller of the change stands for."""
    who = question.who
    if caller.anonymous or not caller.issuer:
        return who is None and caller.anonymous is (question.run is None)
    ways = change.ways(caller)
    return who is not None and who.issuer == caller.issuer and all(set(way) & {*who.memberships} for way in ways)


def check_rights(policy, plane, answers, allowed, seen):
    """`who-can`, `what-can` and `matrix` list what the gate allows, and nothing that it does not."""
    everyone, columns = all_callers(policy, plane), [*roles(policy, plane)]
    if plane is Plane.EGRESS:
        rights = [*calls(policy, everyone)]
        for question, record in answers:
            decision = evaluate(question.request, question.caller.identity(policy, question.run), policy)
            own = [*calls(policy, [question.caller])] if question.who is not None else rights
            if record["decision"] == "allow":
                assert any(names(one, question, decision) for one in rights), question
                assert any(names(one, question, decision) for one in own), question
                seen["calls"] += 1
    else:
        answers = [*answers]
        asking = dict.fromkeys((*everyone, *columns, *(question.caller for question, _ in answers)))
        found = cells(policy, asking)
        for question, record in answers:
            check_cell(question, record, found, everyone, policy)
            seen["cells"] += record["decision"] == "allow"
        check_matrix(policy, found, everyone, columns)
    for right in gained(without_rules(policy), policy, plane, everyone):
        witness = of_words(right.witness.words, plane)
        assert shown(witness, policy, right.witness.shows, allowed), right
        seen["witnesses"] += 1


def check_cell(question, record, found, everyone, policy):
    """The cell of the caller, and that of one of their memberships, for the operation of the request.

    What a cell says of a DAG is true of some request of the operation, and of all where its rules ask for nothing else.
    A list that is allowed and shows no DAG is in no cell: nothing can be read or changed there.
    """
    operation, dag = record["operation"], record["dag"]
    if not operation:
        return
    dag = "" if dag == "~" else dag
    cell = found[question.caller].get(operation)
    if record["decision"] == "allow":
        if cell is None:
            assert record.get("narrowed"), question
            identity = question.caller.identity(policy, question.run)
            assert not any(shows(question.request, identity, policy, one) for one in small_policies.DAGS), question
            return
        assert cell.about(dag) or not dag, question
        held = set(question.who.memberships) if question.who is not None else set()
        issuer = question.who.issuer if question.who is not None else ""
        alone = [one for one in everyone if one.issuer == issuer and is_held(one, held)]
        listed = [found[one][operation] for one in alone if operation in found[one]]
        assert any(not dag or one.about(dag) for one in listed), question
    elif cell is not None and not cell.excepted_places and dag:
        rules = [policy.rules[name] for name in cell.rules]
        assert any(rule.hosts or rule.methods or rule.paths for rule in rules) or not cell.about(dag), question


def is_held(caller, held):
    return not caller.memberships or not held.isdisjoint({caller.memberships[0], *caller.alike})


def check_matrix(policy, found, everyone, columns):
    """A column of the matrix is what `who-can` says of a caller with just these roles."""
    by_roles = {}
    for one in everyone:
        identity = one.identity(policy)
        by_roles.setdefault(identity.roles if identity is not None else None, found[one])
    for column in columns:
        identity = column.identity(policy)
        same = by_roles.get(identity.roles if identity is not None else None)
        if same is not None:
            assert found[column] == same, column


def drawn_entry(rng, plane):
    """An entry of `never`."""
    words = small_policies._INBOUND if plane is Plane.INBOUND else small_policies._EGRESS
    entry = small_policies.maybe(rng, words) or {"methods": ["DELETE"]}
    if rng.random() < 0.5:
        entry["roles"] = small_policies.names(rng, ["r0", "r1", "r2", "authenticated"])
    if rng.random() < 0.5:
        entry["except"] = small_policies.names(rng, ["r0", "r1", "anonymous"])
    return {**entry, "plane": plane.value}


def check_never(rng, made, answers, allowed, seen):
    """An entry of `never` holds only if the gate allows none of it, and a witness is allowed by the gate."""
    answers = [*answers]
    for entry in (drawn_entry(rng, made.plane), drawn_entry(rng, made.plane)):
        try:
            suite = cases.read(bundle(made.made[0], never=[entry]))
        except PolicyError:
            continue
        policy = as_of(suite.policy, NOW)
        [proof] = proofs(suite.policy, suite.never, NOW)
        seen["broken" if proof.violations else "holds"] += 1
        for found in proof.violations:
            if found.witness is not None:
                assert shown(of_words(found.witness.words, made.plane), policy, found.witness.shows, allowed), found
        if proof.violations:
            continue
        excepted = entry.pop("except", [])
        alone = {**entry, "id": "entry", "deny": True}
        alone.pop("roles", None)
        denying = small_policies.loaded({"issuers": made.made[0]["issuers"], "rules": [alone]})
        for question, record in answers:
            if record["decision"] == "allow" and is_meant(question, entry, excepted, suite.policy):
                decision = evaluate(question.request, question.caller.identity(denying, question.run), denying)
                assert decision.reason is not Reason.DENY_RULE, (question, entry)


def is_meant(question, entry, excepted, written):
    """Whether the entry is about the caller: `roles` by the members as written, `except` by those that are left."""
    if question.who is None and question.run is None:
        return "anonymous" not in excepted
    now, ever = (
        {*question.caller.identity(policy).roles, "authenticated"} for policy in (as_of(written, NOW), written)
    )
    return now.isdisjoint(excepted) and (not entry.get("roles") or not ever.isdisjoint(entry["roles"]))


def check_tests(made, policy, answers, seen):
    """Tests made from the gate's answers pass, and one with the opposite answer fails, when the policy is loaded."""
    if policy is not made.written[0]:
        return  # tests ask the policy as it is written
    tests = [as_test(question, record) for question, record in [*answers][:IN_TESTS]]
    suite = cases.load(bundle(made.made[0], tests=tests))
    assert len(suite.cases) == len(tests)
    opposite = {"allow": "deny", "deny": "allow"}[tests[0]["expect"]]
    wrong = {name: value for name, value in tests[0].items() if name not in {"reason", "rule"}}
    with pytest.raises(PolicyError) as refused:
        cases.load(bundle(made.made[0], tests=[{**wrong, "expect": opposite}]))
    assert refused.value.test
    seen["tests"] += 1


def as_test(question, record):
    """The answer as a test."""
    request = question.request
    target = request.path or f"{request.host}:443"
    test = {"who": as_who(question), "request": f"{request.method} {target}", "plane": request.plane.value}
    test |= {"host": request.host} if request.path else {}
    test |= {"destination": request.destination} if request.destination else {}
    test |= {"narrowed": True} if request.narrowed else {}
    test |= {"expect": record["decision"], "reason": record["reason"]}
    return {**test, "rule": record["rule"]} if record["rule"] else test


def as_who(question):
    who, run = question.who, question.run
    if who is None and run is None:
        return "anonymous"
    said_of_run = {"run": {"dag": run.dag_id, "task": run.task_id, "identity": run.level.value}} if run else {}
    if who is None:
        return said_of_run
    found = {"issuer": who.issuer, **said_of_run}
    for held in who.memberships:
        if held.kind in {"group", "grant"}:
            found.setdefault(f"{held.kind}s", []).append(held.value)
        else:
            found[str(held.kind)] = held.value
    return found
