"""Entries of `never`: against brute force over random small policies, and each field and word by itself."""

import json
import random
from dataclasses import replace
from itertools import combinations, product

import pytest

from authz.core import cases
from authz.core.cases.invariants import SHOWN, problems, proofs
from authz.core.decision import decide
from authz.core.decision.decide import shows
from authz.core.errors import PolicyError
from authz.core.model import Level, Plane
from authz.core.policy import AUTHENTICATED, NEVER, Bundle
from authz.core.proof import never as proof_of_never
from authz.core.proof.callers import ANONYMOUS, RUN, Caller, Kind, Membership
from authz.core.proof.points import real
from authz.core.proof.wording import name_of
from authz.core.request.path import CONNECT
from tests.support.factories import small_policies as small
from tests.support.factories.ending import TIMES, by_hand, with_ends


def entry(rng, plane):
    """A random entry, which is often near one of the rules."""
    made = {key: value for key, value in small.rule(rng, 0, plane).items() if key not in {"id", "public", "deny"}}
    made.pop("identity", None)
    made.pop("roles", None)
    if rng.random() < 0.6:
        made["roles"] = small.names(rng, ["r0", "r1", "r2", "authenticated"], most=1)
    if rng.random() < 0.4:
        roles = [role for role in ["r0", "r1", "r2", "authenticated"] if role not in made.get("roles", ())]
        made["except"] = small.names(rng, roles)
    if rng.random() < 0.4 and "authenticated" not in made.get("except", ()):
        made["except"] = [*made.get("except", ()), "anonymous"]
    return made


def suite(rng, plane, *, ending=False):
    """A random policy with an entry that may be written; `ending`: in which rules and members end."""
    written, _policy = small.policy(rng, plane)
    if rng.random() < 0.6:  # so that often two memberships are needed
        written["roles"] = {f"r{n}": {"groups": [group]} for n, group in enumerate(small.GROUPS)}
    guarded = ending and rng.random() < 0.6
    while True:
        one, made = entry(rng, plane), written
        if guarded:  # by a deny rule, whose role may lose its members
            guard = {key: value for key, value in one.items() if key != "except"}
            made = {**written, "rules": [*written["rules"], {"id": "guard", "deny": True, **guard}]}
        made = with_ends(rng, made) if ending else made
        try:
            return made, one, cases.read_with(Bundle(data(made), "policy.yaml"), never([one]), "entry.yaml")
        except PolicyError:
            continue


def data(written):
    return b"version: 1\n" + b"".join(f"{key}: {json.dumps(written[key])}\n".encode() for key in written)


def never(entries):
    return ("never:\n" + "".join(f"  - {json.dumps(one)}\n" for one in entries)).encode()


def then(written, at):
    """The policy at that time, with a role beside each one whose members are those as written: `written-r0`."""
    made, names = by_hand(written, at), "written-{}".format
    for name, role in by_hand(written, -NEVER).get("roles", {}).items():
        included = {"includes": [*map(names, role["includes"])]} if "includes" in role else {}
        made["roles"][names(name)] = {**role, **included}
    for granted in made["grantable"]:
        if "roles" in granted:
            granted["roles"] = [*granted["roles"], *map(names, granted["roles"])]
    return made


def forbidding(made, one, *, roles=True):
    """The policy with the entry as one more deny rule, whose roles are those as written."""
    deny = {key: value for key, value in one.items() if key not in {"name", "except", "roles"}}
    if roles and "roles" in one:
        deny["roles"] = [role if role == AUTHENTICATED else f"written-{role}" for role in one["roles"]]
    return small.loaded({**made, "rules": [*made["rules"], {"id": "zz", "deny": True, **deny}]})


def tokens(policy, plane):
    """Everyone with a token whom the policies can tell apart."""
    for issuer in policy.issuers.values():
        if plane in issuer.audiences:
            for size in range(len(small.GROUPS) + 1):
                for groups in combinations(small.GROUPS, size):
                    others = ((), small.CLIENTS), ((), small.SUBJECTS), *(((), [name]) for name in policy.grantable)
                    for client, subject, *grants in product(*others):
                        held = ((Kind.GROUP, groups), (Kind.CLIENT, client), (Kind.SUBJECT, subject))
                        held += tuple((Kind.GRANT, granted) for granted in grants)
                        memberships = (Membership(kind, value) for kind, values in held for value in values)
                        yield Caller(issuer.name, tuple(memberships))


def is_excepted(caller, policy, words):
    if caller.anonymous:
        return "anonymous" in words
    return "authenticated" in words or not caller.identity(policy).roles.isdisjoint(words)


def by_kind(violation):
    """The memberships in the order of `tokens`."""
    kinds = [*Kind]
    return tuple(sorted(violation.caller.memberships, key=lambda one: (kinds.index(one.kind), one.value)))


class Brute:
    """Who loses something by the entry's deny rule at a time, by asking everybody a sample of requests."""

    def __init__(self, written, one, at, plane):
        made = then(written, at)
        policy = small.loaded(made)
        with_roles, without = (forbidding(made, one, roles=roles) for roles in (True, False))
        words = one.get("except", ())
        everyone = (ANONYMOUS, RUN, *tokens(policy, plane))
        asked = [caller for caller in everyone if not is_excepted(caller, policy, words)]
        self.before = policy
        self.after = {caller: without if caller.anonymous else with_roles for caller in asked}
        # The roles are equal in all three policies.
        self.identities = {caller: caller.identity(policy) for caller in asked}

    def everybody(self, run, method):
        """Everyone who may be the caller, of those whom the policies can tell apart."""
        runs, others = run is not None, run is None or (run.level is Level.ASSERTED and method != CONNECT)
        return [caller for caller in self.after if (runs if caller == RUN else others)]

    def loses(self, caller, asked, run, shown):
        known = self.identities[caller]
        identity = known if run is None or known is None else replace(known, run=run)
        after = self.after[caller]
        return shows(asked, identity, self.before, shown) and not shows(asked, identity, after, shown)

    def anyone(self, requests):
        for asked, run in requests:
            for caller in self.everybody(run, asked.method):
                narrowed = decide.narrows(asked, self.identities[caller], decide.route_of(asked, self.before))
                for shown in ["", *(small.DAGS if narrowed else [])]:
                    if self.loses(caller, asked, run, shown):
                        return caller, asked, run, shown
        return None


def compare(first, count, plane, asked_each, *, ending=False):
    """How many entries do not hold, each of them seen by both, and how many hold."""
    broken = seen = 0
    for number in range(first, first + count):
        rng = random.Random(number)  # noqa: S311 drawn again from its number
        written, one, found = suite(rng, plane.value, ending=ending)
        at = rng.choice(TIMES) if ending else -NEVER
        [proof] = proofs(found.policy, found.never, at)
        brute = Brute(written, one, at, plane)
        lost = brute.anyone(small.requests(rng, plane, asked_each))
        assert lost is None or proof.violations, (number, written, one, lost)
        for violation in proof.violations:
            who = Caller(violation.caller.issuer, anonymous=violation.caller.anonymous, memberships=by_kind(violation))
            tried = ((who, at.request, at.run, at.shown) for at in real(violation.region))
            assert any(brute.loses(*asked) for asked in tried), (number, written, one, violation)
            assert violation.witness is not None, (number, written, one, violation)
        broken += bool(proof.violations)
        seen += lost is not None
    return broken, seen, count - broken


ISSUERS = """
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
"""
RULES = """
{id: health, plane: inbound, public: true, operations: ["health:read"]}
{id: version, plane: inbound, public: true, paths: ["/api/v2/version"], methods: [GET]}
{id: ops, plane: inbound, roles: [op], operations: [airflow.op]}
{id: sales, plane: inbound, roles: [etl], operations: ["dag_runs:*", "dags:read"], dags: ["sales_*"]}
{id: any, plane: inbound, roles: [authenticated], paths: ["/custom/**"], hosts: [a.example]}
{id: bots, deny: true, roles: [bot], operations: ["*:delete", "*:bulk"]}
{id: orders, plane: egress, roles: [etl], destinations: [orders], methods: [GET], paths: ["/v1/**"]}
{id: stock, plane: egress, hosts: ["*.stock.example"], paths: ["/**"], dags: ["stock_*"], tasks: ["load_*"]}
{id: loose, plane: egress, hosts: [loose.example], paths: ["/x"], dags: ["loose_*"], identity: asserted}
{id: tunnel, plane: egress, hosts: [db.example], methods: [CONNECT], dags: ["db_*"], identity: verified-bearer}
"""
ROLES = """
  op: {groups: [ops]}
  etl: {clients: [etl]}
  bot: {groups: [bots]}
  lead: {groups: [principals], includes: [op]}
  idle: {groups: [idlers]}
  account: {clients: [account]}
"""
WHOLE = ISSUERS + "roles:" + ROLES + "rules:" + RULES.replace("\n{", "\n  - {")


def reasons(entry, policy=WHOLE):
    """Why an entry does not hold: the callers and rules."""
    bundle = Bundle(policy.encode(), "policy.yaml")
    found = cases.read_with(bundle, f"never:\n  - {entry}\n".encode(), "entry.yaml")
    [proof] = proofs(found.policy, found.never)
    return [f"{name_of(violation.caller)}: {violation.rule.id}" for violation in proof.violations]


HOLDS = [
    '{operations: ["fab_users:*"], except: [op]}',
    '{roles: [bot], operations: ["connections:delete"]}',
    '{roles: [account], operations: ["dag_runs:create"], except: [op]}',  # no token has two clients
    '{except: [op], operations: ["connections:*"]}',
    '{except: [op, etl], plane: inbound, dags: ["*"]}',
    '{except: [anonymous, op], operations: ["dag_runs:*"], dags: ["finance_*"]}',
    '{except: [authenticated], operations: ["dags:*"]}',
    '{plane: inbound, methods: [OPTIONS], paths: ["/api/**"]}',
    '{plane: inbound, paths: ["/admin/**"]}',
    '{plane: inbound, hosts: [b.example], paths: ["/custom/**"]}',
    "{plane: egress, destinations: [ledger], hosts: [other], roles: [idle], except: [etl]}",
    "{plane: egress, hosts: [a.example], except: [etl]}",
    '{plane: egress, dags: ["sales_*"], hosts: [x.stock.example], except: [etl]}',
    '{plane: egress, tasks: ["drop_*"], hosts: [x.stock.example], destinations: [stock]}',
    '{plane: egress, hosts: [db.example], dags: ["other"], methods: [CONNECT]}',
    "{plane: egress, hosts: [loose.example], except: [authenticated]}",
    '{roles: [idle], except: [op, etl, anonymous], operations: ["dags:*"]}',
]
BREAKS = [
    ('{operations: ["connections:*"]}', "group `ops`: ops"),
    ('{roles: [bot], operations: ["connections:read"]}', "group `ops` and group `bots`: ops"),
    ('{roles: [lead], operations: ["connections:read"]}', "group `principals`: ops"),  # `includes`
    ('{roles: [account], operations: ["connections:read"]}', "group `ops` and client `account`: ops"),
    ('{roles: [idle], operations: ["health:read"]}', "callers without a token: health"),  # the token can be left out
    ('{except: [authenticated], operations: ["health:read"]}', "callers without a token: health"),
    ('{roles: [idle], except: [anonymous], operations: ["health:read"]}', "group `idlers`: health"),
    ('{except: [anonymous], operations: ["health:read"]}', "every caller of corp: health"),
    ('{plane: inbound, paths: ["/api/v2/version"], except: [op, authenticated]}', "callers without a token: version"),
    ('{plane: inbound, hosts: [a.example], paths: ["/custom/x"]}', "every caller of corp: any"),
    ('{plane: inbound, dags: ["sales_eu"], except: [op]}', "client `etl`: sales"),
    ("{plane: inbound, methods: [PATCH], except: [op]}", "client `etl`: sales"),
    ('{plane: egress, destinations: [orders], methods: [GET], paths: ["/v1/x"]}', "client `etl`: orders"),
    ('{plane: egress, hosts: [x.stock.example], dags: ["stock_eu"]}', "a run: stock"),
    ('{plane: egress, hosts: [x.stock.example], tasks: ["load_a"], roles: [authenticated]}', "a run: stock"),
    # An account that only asserts its run may be any run; so may a call without one.
    ("{plane: egress, hosts: [loose.example], dags: [other], roles: [idle]}", "group `idlers`: loose"),
    ("{plane: egress, destinations: [orders], dags: [other]}", "client `etl`: orders"),
    ('{plane: egress, hosts: [db.example], paths: ["/x"]}', "a run: tunnel"),  # a tunnel may go to any path
]


@pytest.mark.parametrize("entry", HOLDS)
def test_it_holds(entry):
    assert reasons(entry) == []


@pytest.mark.parametrize(("entry", "first"), BREAKS)
def test_it_does_not_hold(entry, first):
    assert first in reasons(entry)


def test_a_list_that_is_not_narrowed_may_show_any_dag():
    rules = WHOLE.replace('dags: ["sales_*"]', 'dags: ["*", "sales_*"]')
    assert reasons('{except: [op], operations: ["dags:read"], dags: [hr]}', rules) == ["client `etl`: sales"]


def test_a_denied_part_of_an_entry_needs_no_single_deny_rule():
    denied = """
  - {id: d1, deny: true, roles: [etl], operations: ["dags:*"]}
  - {id: d2, deny: true, plane: inbound, roles: [etl, op], operations: ["dag_runs:*"]}
"""
    assert reasons('{except: [op], operations: ["dags:*", "dag_runs:*"]}', WHOLE + denied.lstrip("\n")) == []
    all_but = '  - {id: d3, deny: true, plane: inbound, roles: [authenticated], operations: ["dag_runs:*"]}\n'
    first = denied.partition("\n")[2].partition("\n")[0] + "\n"
    assert reasons('{except: [op], operations: ["dags:*", "dag_runs:*"]}', WHOLE + first + all_but) == []
    everyone = '  - {id: d1, deny: true, plane: inbound, operations: ["*"]}\n'
    assert reasons('{operations: ["dags:*", "health:read"]}', WHOLE + everyone) == []
    others = '  - {id: d1, deny: true, plane: inbound, roles: [authenticated], operations: ["*"]}\n'
    assert reasons('{operations: ["dags:*", "health:read"]}', WHOLE + others) == ["callers without a token: health"]


def test_deny_rules_for_one_method_each_may_cover_an_entry_together(monkeypatch):
    """Then no allow rule is looked at, however many there are."""
    entry = '{plane: inbound, roles: [idle], except: [anonymous], paths: ["/**"]}'
    denied = [
        f"  - {{id: d{method}, deny: true, plane: inbound, roles: [idle], methods: [{method}]}}\n"
        for method in ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")
    ]
    assert reasons(entry, WHOLE + "".join(denied[1:])) == [
        "group `idlers`: any", "group `ops` and group `idlers`: ops", "client `etl` and group `idlers`: sales",
    ]  # fmt: skip
    monkeypatch.setattr(proof_of_never, "MOST_ASKED", 0)
    assert reasons(entry, WHOLE + "".join(denied)) == []


def test_a_proof_that_takes_too_long_is_a_mistake_with_a_place(monkeypatch):
    monkeypatch.setattr(proof_of_never, "MOST_ASKED", 10)
    text = f'{WHOLE}never:\n  - {{name: wide, plane: inbound, paths: ["/**"]}}\n'
    with pytest.raises(PolicyError, match="`wide` of `never` is not proven: the entry is about too much") as caught:
        cases.load(Bundle(text.encode(), "policy.yaml"))
    [problem] = caught.value.problems
    assert (problem.file, problem.line, caught.value.test) == ("policy.yaml", text.count("\n"), "wide")


def test_patterns_that_overlap_in_too_many_ways_are_a_mistake_too():
    """Else the load of a policy would not come to an end."""
    one, other = ("*" + "*".join(parts) + "*" for parts in ("abcdefghijkl", "mnopqrstuvwx"))
    rule = f'  - {{id: stars, plane: inbound, roles: [op], operations: ["dags:read"], dags: ["{one}"]}}\n'
    text = f'{WHOLE}{rule}never:\n  - {{name: n, operations: ["dags:read"], dags: ["{other}"]}}\n'
    with pytest.raises(PolicyError, match="overlap in too many ways"):
        cases.load(
            Bundle(text.replace("sales_*", "sales").replace("[airflow.op]", '["pools:read"]').encode(), "policy.yaml")
        )


def test_what_a_rule_must_name_is_not_reached_by_a_pattern_of_paths():
    wide = WHOLE + '  - {id: auth, plane: inbound, roles: [idle], paths: ["/auth/{x}"]}\n'
    assert reasons('{plane: inbound, except: [op], paths: ["/auth/token"], methods: [POST]}', wide) == []
    assert reasons('{plane: inbound, except: [op], paths: ["/auth/other"]}', wide) == ["group `idlers`: auth"]


def test_a_path_of_another_route_is_not_the_operation_of_the_pattern_that_matches_it():
    """`enqueue-test` is no connection: HEAD of it is not `connections:read`, though that route fits."""
    path = "/api/v2/connections/enqueue-test"
    head = f'  - {{id: head, plane: inbound, roles: [idle], operations: ["*"], paths: ["{path}"], methods: [HEAD]}}\n'
    idle = "roles: [idle], except: [op, etl, anonymous]"
    assert "group `idlers`: head" not in reasons(f'{{{idle}, operations: ["*:read"]}}', WHOLE + head)
    assert "group `idlers`: head" in reasons(f"{{{idle}, plane: inbound, methods: [HEAD]}}", WHOLE + head)


def test_whole_issuers_may_have_a_role_or_be_excepted():
    other = WHOLE.replace(
        "roles:",
        "  - {name: agency, issuer: 'https://agency.example', audiences: {inbound: [b]},"
        " algorithms: [RS256]}\nroles:\n  external: {issuers: [agency]}",
        1,
    )
    corps = other.replace("op: {groups: [ops]", "op: {groups: [ops], issuers: [corp]")
    corps = corps.replace("lead: {groups", "lead: {issuers: [corp], groups")
    assert reasons('{roles: [external], operations: ["connections:read"]}', corps) == []
    assert reasons('{roles: [external], operations: ["connections:read"]}', other) == ["group `ops`: ops"]
    assert reasons('{except: [external], operations: ["connections:read"]}', corps) == ["group `ops`: ops"]
    theirs = other.replace("op: {groups: [ops]", "op: {groups: [ops], issuers: [agency]")
    theirs = theirs.replace("lead: {groups", "lead: {issuers: [agency], groups")
    assert reasons('{except: [external], operations: ["connections:read"]}', theirs) == []


def test_of_a_rules_destinations_those_of_the_entry_count():
    both = "  - {id: both, plane: egress, roles: [etl], destinations: [ledger, stock], paths: [/x]}\n"
    entry = "{plane: egress, destinations: [%s], hosts: [other], roles: [etl]}"
    assert reasons(entry % "stock", WHOLE + both) == ["client `etl`: both"]
    assert reasons(entry % "books", WHOLE + both) == []


def test_a_violation_names_who_what_rule_and_a_command():
    bundle = Bundle(WHOLE.encode(), "policy.yaml")
    entry = b'never:\n  - {name: n, roles: [bot], operations: ["variables:*"]}\n'
    found = cases.read_with(bundle, entry, "entry.yaml")
    [proof] = proofs(found.policy, found.never)
    [problem] = problems(proof, found.policy)
    assert problem.message == (
        "the entry `n` of `never` does not hold: group `ops` and group `bots` may"
        " variables:create, variables:update, variables:read, by rule `ops` at policy.yaml:18:5"
    )
    assert problem.hint == "authz check POST /api/v2/variables --host z --group ops --group bots --issuer corp"
    assert (problem.file, problem.line, problem.column) == ("entry.yaml", 2, 5)


def test_all_operations_are_counted_and_the_most_dangerous_of_airflows_own_come_first():
    """Connections before pages of FAB, though those need a stronger role, and a request that reaches them."""
    admin = "  - {id: aa, plane: inbound, roles: [op], operations: [airflow.admin]}\n"
    slipped = WHOLE.replace('operations: ["*:delete", "*:bulk"]}', "plane: inbound, methods: [DELETE]}")
    entry = b'never:\n  - {name: n, roles: [bot], operations: ["*:bulk"]}\n'
    found = cases.read_with(Bundle((slipped + admin).encode(), "policy.yaml"), entry, "entry.yaml")
    [proof] = proofs(found.policy, found.never)
    [one] = [one for one in proof.violations if one.rule.id == "aa"]
    assert one.operations == (
        "connections:bulk", "pools:bulk", "variables:bulk", "dag_runs:bulk", "task_instances:bulk",
        "fab_permissions:bulk", "fab_roles:bulk", "fab_users:bulk",
    )  # fmt: skip
    assert one.dags == ()
    assert one.witness.words[:2] == ("PATCH", "/api/v2/connections")
    assert ", dag_runs:bulk and 4 more, by rule" in next(problems(proof, found.policy)).message


def test_what_was_found_before_the_limit_is_a_violation(monkeypatch):
    monkeypatch.setattr(proof_of_never, "MOST_ASKED", 8)
    assert reasons('{operations: ["pools:*"]}')


def test_of_many_rules_the_first_are_reported():
    many = "".join(f"  - {{id: m{n}, plane: inbound, roles: [op], operations: [airflow.op]}}\n" for n in range(20))
    assert len(reasons('{operations: ["pools:*"]}', WHOLE + many)) == SHOWN


@pytest.mark.no_cover
@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("block", [0, 1])
def test_an_entry_holds_if_and_only_if_its_deny_rule_takes_nothing_from_anyone(plane, block):
    broken, seen, holding = compare(block * 200, 200, plane, 30)
    assert min(seen, holding) > 10
    assert broken >= seen


@pytest.mark.no_cover
@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("block", [0, 1])
def test_after_an_end_it_is_about_the_members_as_written(plane, block):
    broken, seen, holding = compare(3_000 + block * 150, 150, plane, 30, ending=True)
    assert min(seen, holding) > 10
    assert broken >= seen


@pytest.mark.full
@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("block", range(6))
def test_an_entry_holds_if_and_only_if_of_three_thousand(plane, block):
    broken, seen, holding = compare(10_000 + block * 250, 250, plane, 30)
    assert min(seen, holding) > 10
    assert broken >= seen


@pytest.mark.full
@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("block", range(6))
def test_after_an_end_it_is_about_the_members_as_written_of_three_thousand(plane, block):
    broken, seen, holding = compare(20_000 + block * 250, 250, plane, 30, ending=True)
    assert min(seen, holding) > 10
    assert broken >= seen
