import pytest

from authz.core.lint.destinations import against, unknown
from authz.core.lint.egress_map import WayOut, WaysOut
from authz.core.model import Level
from tests.support.factories.policies import load

ORDERS = WayOut(name="orders", hosts=("orders.internal",), ports=(443,), tunnel=True)
FILES = WayOut(name="files", hosts=("*.files.internal",), ports=(443,))
BOTH = "{{id: z, plane: egress, roles: [viewer], destinations: [orders, files], paths: [/z]}}\n{{id: x, {}}}"


def ways(*destinations, others=(), surest=Level.VERIFIED):
    return WaysOut(file="authz.yaml", listen="127.0.0.1:8090", destinations=destinations, others=others, surest=surest)


def found(rule, used=None):
    findings = against(load(BOTH.format(rule)), used or ways(ORDERS, FILES))
    return [(f.severity.value, f.problem.message) for f in findings]


NEVER = "the rule `x` can never apply: no destination of {} serves its hosts"
ALLOW = "plane: egress, roles: [viewer], paths: [/x], "


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (ALLOW + "destinations: [orders]", []),
        (ALLOW + "hosts: [orders.internal]", []),
        (ALLOW + "hosts: [a.files.internal]", []),
        (ALLOW + 'hosts: ["*.internal"]', []),
        (ALLOW + "destinations: [files], hosts: [a.files.internal]", []),
        ("plane: inbound, roles: [viewer], operations: [dags:read], hosts: [nobody.test]", []),
        ("roles: [viewer], hosts: [nobody.test], paths: [/x]", []),
        ("deny: true, plane: egress, methods: [DELETE]", []),
        (ALLOW + "destinations: [order]", [("error", "the rule `x` names an unknown destination `order`")]),
        (ALLOW + "hosts: [nobody.test]", [("warning", NEVER.format("the settings"))]),
        (ALLOW + "hosts: [files.internal]", [("warning", NEVER.format("the settings"))]),
        ("deny: true, plane: egress, hosts: [nobody.test]", [("error", NEVER.format("the settings"))]),
        (
            "deny: true, plane: egress, hosts: [orders.internal, order.internal]",
            [("error", "the deny rule `x` names the host `order.internal`, which no destination serves")],
        ),
        (ALLOW + "hosts: [orders.internal, order.internal]", []),
        ("deny: true, plane: egress, destinations: [orders], hosts: [orders.internal]", []),
        (
            "deny: true, plane: egress, destinations: [orders], hosts: [orders.internal, a.files.internal]",
            [("error", "the deny rule `x` names the host `a.files.internal`, which no destination serves")],
        ),
        ("deny: true, hosts: [nobody.test], paths: [/x]", []),
        (ALLOW + "destinations: [orders], hosts: [a.files.internal]", [("warning", NEVER.format("its destinations"))]),
        ("plane: egress, roles: [viewer], hosts: [orders.internal], methods: [CONNECT]", []),
        ("deny: true, plane: egress, destinations: [files], methods: [CONNECT]", []),
        (
            "plane: egress, roles: [viewer], destinations: [files], methods: [CONNECT]",
            [("warning", "the rule `x` allows tunnels that the settings do not")],
        ),
    ],
)
def test_ways_that_are_not_there(rule, expected):
    assert found(rule) == expected


def test_an_unknown_destination_has_advice():
    policy = load(BOTH.format(ALLOW + "destinations: [order, nothing]"))
    hints = [finding.problem.hint for finding in against(policy, ways(ORDERS, FILES))]
    assert hints == ["the settings have files, orders", "did you mean `orders`?"]
    assert {f.problem.hint for f in against(policy, ways())} == {"the settings have none"}


def test_a_host_that_is_no_destination_is_fine_where_any_host_may_be_called():
    any_host = ways(ORDERS, FILES, others=(443,))
    assert found(ALLOW + "hosts: [nobody.test]", any_host) == []
    tunnel = "plane: egress, roles: [viewer], hosts: [nobody.test], methods: [CONNECT]"
    assert found(tunnel, any_host) == [("warning", NEVER.format("the settings"))]
    named = ALLOW + "destinations: [orders], hosts: [nobody.test]"
    assert found(named, any_host) == [("warning", NEVER.format("its destinations"))]


UNREACHED = "the rule `x` names `{}`, which Envoy never reaches"
LITERALS = ("169.254.169.254", "127.0.0.1", "[::1]", "[fe80::1]", "168.63.129.16")


@pytest.mark.parametrize("host", LITERALS)
@pytest.mark.parametrize("more", ["", "deny: true, "])
def test_nobody_is_told_to_make_a_special_address_a_destination(host, more):
    rule = f'{more}plane: egress, roles: [viewer], hosts: ["{host}"], paths: [/x]'
    policy = load(BOTH.format(rule))
    [finding] = against(policy, ways(ORDERS, FILES))
    assert finding.severity.value == ("error" if more else "warning")
    assert finding.problem.message == NEVER.format("the settings")
    assert finding.problem.hint.startswith("remove it: Envoy never reaches ")
    other = load(BOTH.format(rule.replace(host, "10.1.2.3")))
    [finding] = against(other, ways(ORDERS, FILES))
    assert finding.problem.hint == "add the host to the destination's `hosts`"


@pytest.mark.parametrize("host", [*LITERALS, "10.1.2.3", "[fd00:ec2::254]"])
def test_where_any_host_may_be_called_no_address_that_is_not_public_can_be(host):
    any_host = ways(ORDERS, FILES, others=(443,))
    assert found(f'{ALLOW}hosts: ["{host}"]', any_host) == [("warning", UNREACHED.format(host))]
    assert found(f'{ALLOW}hosts: [api.test, "{host}"]', any_host) == [("warning", UNREACHED.format(host))]
    here = WayOut(name="here", hosts=(host,))
    assert found(f'{ALLOW}hosts: ["{host}"]', ways(ORDERS, FILES, here, others=(443,))) == []
    assert found(f'deny: true, plane: egress, hosts: ["{host}"]', any_host) == [], "it does no harm"
    assert found(f'roles: [viewer], paths: [/x], hosts: ["{host}"]', any_host) == [], "it is about both planes"


@pytest.mark.parametrize("host", ["1.1.1.1", "[2606:4700::1111]", "a.test", "*.test"])
def test_public_addresses_and_names_may_be_other_hosts(host):
    assert found(ALLOW + f"hosts: ['{host}']", ways(ORDERS, FILES, others=(443,))) == []


@pytest.mark.parametrize(
    ("more", "surest", "words"),
    [
        ("dags: [x]", Level.VERIFIED, ""),
        ("identity: asserted", Level.ASSERTED, ""),
        ("dags: [x]", Level.ASSERTED, "it asks for `verified`, and with these settings a run is `asserted` at most"),
        (
            "identity: verified-bearer", Level.ASSERTED,
            "it asks for `verified-bearer`, and with these settings a run is `asserted` at most",
        ),
        ("identity: asserted", None, "with these settings no call comes from a run"),
    ],
)  # fmt: skip
def test_a_rule_for_a_level_above_that_of_the_settings_is_a_finding(more, surest, words):
    rule = f"plane: egress, destinations: [orders], paths: [/x], {more}"
    expected = [("warning", f"the rule `x` can allow nothing: {words}")] if words else []
    assert found(rule, ways(ORDERS, FILES, surest=surest)) == expected


@pytest.mark.parametrize(("surest", "warns"), [(Level.VERIFIED, False), (Level.ASSERTED, True), (None, True)])
@pytest.mark.parametrize("about", ["dags: [x]", "tasks: [x]"])
def test_deny_rules_about_runs_where_no_run_is_sure(about, surest, warns):
    message = "the rule `x` denies every call that it covers, whichever run makes it"
    used = ways(ORDERS, FILES, surest=surest)
    rule = f"deny: true, plane: egress, destinations: [orders], {about}"
    assert found(rule, used) == ([("warning", message)] if warns else [])
    assert found("deny: true, plane: egress, destinations: [orders]", used) == []


def test_a_destination_that_no_rule_reaches():
    policy = load(
        "{id: x, plane: egress, roles: [viewer], hosts: [orders.internal], paths: [/x]}\n"
        "{id: no, deny: true, plane: egress, destinations: [files]}"
    )
    [finding] = against(policy, ways(ORDERS, FILES))
    assert finding.severity.value == "note"
    assert str(finding.problem) == (
        "authz.yaml: no rule allows anything at the destination `files`"
        " (add a rule with destinations: [files], or remove it)"
    )


def test_unknown_destinations_of_a_rule_come_with_a_hint():
    policy = load(BOTH.format(ALLOW + "destinations: [order]"))
    assert unknown(policy.rules["x"], ways(ORDERS)) == [("order", "did you mean `orders`?")]
    assert unknown(load(BOTH.format(ALLOW + "hosts: [a]")).rules["x"], ways(ORDERS)) == []
