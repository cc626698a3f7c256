"""What `diff`, `who-can`, `what-can` and `matrix` say: no caller left out, no limit left unsaid, no forgery."""

import csv
import json
import re
import shlex

import pytest
from click.testing import CliRunner

from authz.cli import main

CORP = (
    "  - {name: corp, issuer: https://idp.example.com, audiences: {inbound: [a], egress: [b]}, algorithms: [RS256]}\n"
)
PEOPLE = "  - {name: people, issuer: https://p.example.com, audiences: {inbound: [a]}, algorithms: [RS256]}\n"
MACHINES = "  - {name: machines, issuer: https://m.example.com, audiences: {egress: [b]}, algorithms: [RS256]}\n"
BASE = 'id: base, plane: inbound, roles: [r], operations: ["pools:read"]'
VARIABLES = 'id: n, plane: inbound, roles: [r], operations: ["variables:read"]'
ROLES = "r: {groups: [g]}"
EVIL = r'"g\e[2K\rno one gains\e[8m"'
MARKUP = r'"a\nPASS\n`x` | **b** <img src=x>"'
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def text(*rules, roles=ROLES, issuers=CORP):
    listed = "".join(f"  - {{{rule}}}\n" for rule in rules)
    return (
        f"version: 1\nissuers:\n{issuers}roles:\n"
        + "".join(f"  {one}\n" for one in roles.split("\n"))
        + f"rules:\n{listed}"
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")

    def call(*words):
        return CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)

    return call


@pytest.fixture
def ask(run, tmp_path):
    """A command about one policy."""

    def call(policy, *words):
        (tmp_path / "policy.yaml").write_text(policy)
        return run(*words)

    return call


@pytest.fixture
def diff(run, tmp_path):
    """`authz diff` of two policies."""

    def call(old, new, *words):
        (tmp_path / "old.yaml").write_text(old)
        (tmp_path / "new.yaml").write_text(new)
        return run("diff", "old.yaml", "new.yaml", *words).output

    return call


class TestCallersAreNamed:
    def test_groups_that_count_alike(self, diff):
        roles = "r: {groups: [auditors, everyone]}"
        old, new = text(BASE, roles=roles), text(BASE, VARIABLES, roles=roles)
        for form in ([], ["--markdown"]):
            assert "group `auditors`, group `everyone` (r)" in diff(old, new, *form).replace(" | ", " ")
        (change,) = json.loads(diff(old, new, "--json"))["changes"]
        assert change["who"] == ["group `auditors`", "group `everyone`"]
        (caller,) = change["callers"]
        assert [[one["value"] for one in way] for way in caller["memberships"]] == [["auditors", "everyone"]]

    def test_many_are_counted_in_text_and_all_in_json(self, diff):
        roles = f"r: {{groups: [{', '.join(f'g{n}' for n in range(9))}]}}"
        old, new = text(BASE, roles=roles), text(BASE, VARIABLES, roles=roles)
        assert "group `g3` and 5 more (r)" in diff(old, new)
        (change,) = json.loads(diff(old, new, "--json"))["changes"]
        assert len(change["who"]) == 9

    def test_both_memberships_of_a_gain_that_needs_two(self, diff):
        roles = "r: {groups: [a1, a2]}\ns: {groups: [d1, d2, d3, d4]}"
        deny = 'id: d, deny: true, plane: inbound, roles: [s], operations: ["pools:read"]'
        old, new = text(BASE, deny, roles=roles), text(BASE, roles=roles)
        assert "gains group `a1` or `a2` and group `d1` or `d2` or 2 more (r)" in diff(old, new)
        (change,) = json.loads(diff(old, new, "--json"))["changes"]
        assert change["who"] == ["group `a1` or `a2` and group `d1` or `d2` or `d3` or `d4`"]

    def test_the_issuer_where_there_is_more_than_one(self, diff):
        roles = "r: {issuers: [corp]}\ns: {groups: [h]}"
        new = 'id: n, plane: inbound, roles: [r, s], operations: ["variables:read"]'
        found = diff(
            text(BASE, roles=roles, issuers=CORP + PEOPLE), text(BASE, new, roles=roles, issuers=CORP + PEOPLE)
        )
        assert "gains every caller of corp, group `h` of people (r, s): variables:read" in found

    def test_a_group_of_several_issuers_once(self, diff, ask):
        issuers = CORP + PEOPLE + MACHINES
        new = text(BASE, VARIABLES, issuers=issuers)
        assert "gains group `g` of any issuer (r): variables:read" in diff(text(BASE, issuers=issuers), new)
        assert ask(new, "who-can", "variables:read").output == "group `g` of any issuer: yes  (rule n)\n"
        (row,) = json.loads(ask(new, "who-can", "variables:read", "--json").output)
        assert row["who"] == ["group `g` of corp", "group `g` of people"]

    def test_everyone_and_those_without_a_token_alone(self, diff):
        public = "id: p, public: true, methods: [GET], paths: [/api/v2/version]"
        known = "id: v, plane: inbound, roles: [authenticated], methods: [GET], paths: [/api/v2/version]"
        assert "gains everyone, also without a token: version:read" in diff(text(BASE), text(BASE, public))
        assert "gains callers without a token: version:read" in diff(text(BASE, known), text(BASE, known, public))

    def test_everyone_with_a_token_of_whatever_issuer(self, diff):
        everybody = 'id: e, plane: inbound, roles: [authenticated], operations: ["variables:read"]'
        issuers = CORP + PEOPLE
        found = diff(text(BASE, issuers=issuers), text(BASE, everybody, issuers=issuers))
        assert "gains every caller with a token (authenticated): variables:read" in found

    def test_those_of_an_issuer_who_do_not_gain(self, diff):
        everybody = 'id: e, plane: inbound, roles: [authenticated], operations: ["pools:read"]'
        found = diff(text(BASE), text(BASE, everybody))
        assert "gains every caller of corp, but not group `g` (authenticated): pools:read" in found

    def test_those_who_may_call_a_destination(self, ask):
        roles = "e: {clients: [c1, c2]}\nf: {clients: [d1]}\ng: {clients: [d2]}\nh: {clients: [d3]}"
        policy = text('id: o, plane: egress, roles: [e, f, g, h], destinations: [orders], paths: ["/**"]', roles=roles)
        assert "and 1 more (e, f, g, h): orders /**" in ask(policy, "who-can", "--destination", "orders").output
        (row,) = json.loads(ask(policy, "who-can", "--destination", "orders", "--json").output)
        assert row["who"] == [f"client `{name}`" for name in ("c1", "c2", "d1", "d2", "d3")]
        assert (row["destinations"], row["paths"], row["rules"]) == (["orders"], ["/**"], ["o"])


class TestTextOfAPolicyStaysText:
    @pytest.mark.parametrize("group", [EVIL, MARKUP])
    def test_on_a_terminal(self, diff, ask, group):
        roles = f"r: {{groups: [{group}], airflow: op}}"
        policy = text(BASE, VARIABLES, roles=roles)
        made = [
            diff(text(BASE, roles=roles), policy),
            ask(policy, "who-can", "variables:read").output,
        ]
        for output in made:
            assert not CONTROL.search(output)
            assert not any(line.startswith(("PASS", "no one")) for line in output.splitlines())
            assert output.splitlines()[0].count("`") == 2

    def test_a_command_to_try_holds_the_group(self, diff):
        roles = rf"r: {{groups: [{EVIL}]}}"
        line = next(
            one
            for one in diff(text(BASE, roles=roles), text(BASE, VARIABLES, roles=roles)).splitlines()
            if "try:" in one
        )
        assert r"--group $'g\U0000001b[2K\U0000000dno one gains\U0000001b[8m'" in line

    def test_in_markdown(self, diff):
        roles = f"r: {{groups: [{MARKUP}], airflow: op}}"
        lines = diff(text(BASE, roles=roles), text(BASE, VARIABLES, roles=roles), "--markdown").splitlines()
        assert len(lines) == 3
        assert lines[2].count("|") == 6
        assert "<img" not in lines[2]
        assert "**b**" not in lines[2]

    def test_in_a_matrix(self, ask):
        policy = text(r'id: a, plane: egress, roles: [r], destinations: [x], paths: ["/<img>_b_`c`\u202e"]')
        for form in ("text", "csv", "markdown", "html"):
            made = ask(policy, "matrix", "--plane", "egress", "--format", form).output
            assert "\u202e" not in made, form
            assert "<img" not in made or form in {"text", "csv"}, form
            assert "img" in made
        made = ask(policy, "matrix", "--plane", "egress", "--format", "markdown").output.splitlines()
        assert made[2].count("|") == made[1].count("|")
        assert r"\_b\_&#96;c&#96;" in made[2]

    def test_in_a_spreadsheet(self, ask):
        policy = text('id: a, plane: inbound, roles: [r], operations: ["dag_runs:create"], dags: ["-1*"]')
        (_, row) = csv.reader(ask(policy, "matrix", "--format", "csv").output.splitlines())
        assert row[-1] == "'-1*"

    def test_in_what_a_caller_can_call(self, ask):
        policy = text(BASE, r'id: o, plane: egress, roles: [r], destinations: [x], paths: ["/a\u202e"]')
        assert ask(policy, "what-can", "--group", "g").output.splitlines()[-2] == r"call x /a\u202e"
        assert r"/a\u202e" in ask(policy, "who-can", "--destination", "x").output


class TestDestinations:
    RULES = (
        'id: named, plane: egress, roles: [r], destinations: [orders], paths: ["/a"]',
        'id: hosts, plane: egress, roles: [r], hosts: [orders.internal], paths: ["/b"]',
        'id: other, plane: egress, roles: [r], destinations: [stock], paths: ["/c"]',
        'id: elsewhere, plane: egress, roles: [r], hosts: [stock.internal], paths: ["/d"]',
    )

    def rules(self, found):
        return re.findall(r"\(rule (\w+)\)", found.output)

    def test_rules_about_hosts_alone_count(self, ask):
        found = ask(text(*self.RULES), "who-can", "--destination", "orders")
        assert self.rules(found) == ["elsewhere", "hosts", "named"]
        assert "orders.internal /b" in found.output

    def test_with_settings_only_those_about_its_hosts(self, ask, tmp_path):
        (tmp_path / "authz.yaml").write_text(
            "version: 1\npolicy: policy.yaml\nenvoy:\n  egress:\n    listen: 127.0.0.1:9300\n    destinations:\n"
            '      - {name: orders, hosts: [orders.internal], address: "127.0.0.1:80"}\n'
            '      - {name: stock, hosts: [stock.internal], address: "127.0.0.1:81"}\n'
        )
        found = ask(text(*self.RULES), "who-can", "--destination", "orders", "--settings", "authz.yaml")
        assert self.rules(found) == ["hosts", "named"], found.output
        refused = ask(text(*self.RULES), "who-can", "--destination", "stok", "--settings", "authz.yaml")
        assert refused.exit_code == 2
        assert "the settings have no destination stok (did you mean `stock`?)" in refused.output

    def test_one_that_no_rule_names_is_an_error(self, ask):
        refused = ask(text(BASE), "who-can", "--destination", "orders")
        assert refused.exit_code == 2
        assert "no rule names the destination orders (known: none); with --settings" in refused.output

    def test_no_one_may_call_it(self, ask):
        deny = "id: d, deny: true, plane: egress, destinations: [orders]"
        found = ask(text(self.RULES[0], deny), "who-can", "--destination", "orders")
        assert (found.output, found.exit_code) == ("no one\n", 1)

    def test_the_order_is_that_of_the_policy(self, ask):
        roles = "\n".join(f"r{n}: {{groups: [g{n}]}}" for n in range(9))
        named = ", ".join(f"r{n}" for n in range(9))
        rule = f'id: o, plane: egress, roles: [{named}], destinations: [orders], paths: ["/**"]'
        (row,) = json.loads(ask(text(rule, roles=roles), "who-can", "--destination", "orders", "--json").output)
        assert row["who"] == [f"group `g{n}`" for n in range(9)]


class TestIssuersAndPlanes:
    POLICY = text(
        BASE,
        'id: o, plane: egress, roles: [e], destinations: [orders], methods: [GET], paths: ["/**"]',
        roles="r: {groups: [g]}\ne: {clients: [etl]}",
        issuers=PEOPLE + MACHINES,
    )

    def test_a_caller_may_only_what_their_tokens_are_for(self, ask):
        found = ask(self.POLICY, "what-can", "--client", "etl").output
        assert found == "a caller of people, whose tokens are for inbound; --issuer asks about another\nnothing\n"
        assert "call GET orders /**" in ask(self.POLICY, "what-can", "--client", "etl", "--issuer", "machines").output
        assert "pools:read" not in ask(self.POLICY, "what-can", "--group", "g", "--issuer", "machines").output
        assert json.loads(ask(self.POLICY, "what-can", "--json").output)["issuer"] == "people"

    def test_a_role_is_asked_about_on_the_planes_of_its_issuers(self, ask):
        policy = self.POLICY.replace("e: {clients", "e: {issuers: [machines], clients")
        assert ask(policy, "what-can", "--role", "e").output == "call GET orders /**\n"

    def test_a_matrix_names_the_issuers_whose_callers_differ(self, ask):
        roles = "all: {issuers: [people]}\nr: {groups: [g]}"
        rule = 'id: a, plane: inbound, roles: [all], operations: ["pools:read"]'
        made = ask(text(rule, roles=roles, issuers=CORP + PEOPLE), "matrix", "--format", "csv").output
        head, row = csv.reader(made.splitlines())
        assert dict(zip(head, row, strict=True)) == {
            "operation": "pools:read",
            "without a token": "",
            "authenticated, corp": "",
            "authenticated, people": "yes",
            "all": "yes",
            "r": "",
        }


class TestLimits:
    @pytest.mark.parametrize(
        ("rules", "operation", "told"),
        [
            (
                ['id: a, plane: inbound, roles: [r], operations: ["pools:read"], hosts: [only.example]'],
                "pools:read",
                "yes, some hosts",
            ),
            (
                ['id: a, plane: inbound, roles: [r], operations: ["pools:delete"], paths: ["/api/v2/pools/one"]'],
                "pools:delete",
                "yes, some paths",
            ),
            (
                ['id: a, plane: inbound, roles: [r], operations: ["pools:create"], paths: ["/api/v2/{x}"]'],
                "pools:create",
                "yes",
            ),
            (['id: a, plane: inbound, roles: [r], paths: ["/api/v2/pools/**"]'], "pools:read", "yes, some paths"),
            (['id: a, plane: inbound, roles: [r], paths: ["/**"]'], "pools:read", "yes"),
            (
                [BASE, 'id: d, deny: true, plane: inbound, paths: ["/api/v2/pools/secret"]'],
                "pools:read",
                "yes, except /api/v2/pools/secret",
            ),
            (
                [BASE, 'id: d, deny: true, plane: inbound, roles: [s], paths: ["/api/v2/pools/secret"]'],
                "pools:read",
                "yes",
            ),
            ([BASE, "id: d, deny: true, plane: inbound, hosts: [a.example]"], "pools:read", "yes, except a.example"),
        ],
    )
    def test_a_cell_says_them(self, ask, rules, operation, told):
        policy = text(*rules, roles="r: {groups: [g]}\ns: {groups: [h]}")
        assert f"group `g`: {told}  (rule" in ask(policy, "who-can", operation).output
        assert (
            dict(line.split(maxsplit=1) for line in ask(policy, "what-can", "--group", "g").output.splitlines())[
                operation
            ]
            == told
        )

    def test_json_has_the_patterns(self, ask):
        place = 'hosts: [only.example], paths: ["/api/v2/pools/one"]'
        rule = f'id: a, plane: inbound, roles: [r], operations: ["pools:delete"], {place}'
        (row,) = json.loads(ask(text(rule), "who-can", "pools:delete", "--json").output)
        assert (row["what"], row["hosts"], row["paths"]) == (
            "yes, some hosts and paths",
            ["only.example"],
            ["/api/v2/pools/one"],
        )

    def test_a_call_says_what_deny_rules_take(self, ask):
        allow = 'id: o, plane: egress, roles: [r], destinations: [pay], methods: [GET], paths: ["/v1/**"]'
        deny = 'id: d, deny: true, plane: egress, destinations: [pay], paths: ["/v1/admin/**"]'
        other = 'id: x, deny: true, plane: egress, roles: [s], destinations: [pay], paths: ["/v1/x"]'
        policy = text(allow, deny, other, roles="r: {groups: [g]}\ns: {groups: [h]}")
        assert ask(policy, "what-can", "--group", "g").output == "call GET pay /v1/**, except pay /v1/admin/**\n"
        assert "except pay /v1/admin/**" in ask(policy, "matrix", "--plane", "egress").output


class TestWhatIsSaid:
    def test_operations_and_dags_are_not_multiplied(self, diff):
        rule = 'id: a, plane: inbound, roles: [r], operations: ["dag_runs:create"%s], dags: [%s]'
        found = diff(text(rule % ("", "x")), text(rule % (', "dag_runs:delete"', "x, y")))
        assert "dag_runs:create, DAG y\n" in found
        assert "dag_runs:delete, DAG x, y\n" in found

    def test_methods_that_a_rule_no_longer_asks_for(self, diff):
        rule = 'id: o, plane: egress, roles: [r], destinations: [orders], %spaths: ["/v1"]'
        found = diff(text(rule % "methods: [GET], "), text(rule % ""))
        assert "DELETE, OPTIONS, PATCH, POST, PUT orders /v1\n" in found

    def test_hosts_beside_destinations(self, diff):
        rule = 'id: o, plane: egress, roles: [r], destinations: [orders], hosts: [a.example], paths: ["/v1"]'
        assert "orders on host a.example /v1\n" in diff(text(BASE), text(BASE, rule))

    def test_a_gain_is_said_once_if_a_deny_rule_is_gone_too(self, diff):
        run = 'id: o, plane: egress, hosts: [a.example], paths: ["/**"], dags: ["d_*"], identity: verified'
        deny = "id: x, plane: egress, deny: true, hosts: [a.example]"
        assert diff(text(BASE, run, deny), text(BASE, run)).count("gains a run") == 1

    def test_the_words_to_try_can_be_pasted(self, diff):
        roles = 'r: {groups: ["all of us"]}'
        lines = diff(text(BASE, roles=roles), text(BASE, VARIABLES, roles=roles)).splitlines()
        assert "all of us" in shlex.split(next(one for one in lines if "try:" in one))
