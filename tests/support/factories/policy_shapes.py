"""Policies of any size, each of another shape: what loading and lint may cost must not depend on what is in a file."""

HEAD = """version: 1
issuers:
  - {name: corp, issuer: "https://idp.test", audiences: {inbound: [a], egress: [b]}, algorithms: [RS256]}
"""
ONE_ROLE = "roles: {viewer: {groups: [g]}}\n"
RULE = "rules:\n  - {id: a, plane: inbound, roles: [r0], operations: ['dags:read']}\n"


def rules(line):
    return lambda n: HEAD + ONE_ROLE + "rules:\n" + "".join(line.replace("N", f"{i:06}") + "\n" for i in range(n))


def roles(line):
    return lambda n: HEAD + "roles:\n" + "".join(f"  r{i}: {line(i, n)}\n" for i in range(n)) + RULE


def letters(number):
    return "".join(chr(97 + number // 26**place % 26) for place in range(4))


def _team(number):
    """What people write for one team: two roles, three rules."""
    name = f"team{number:05}"
    return (
        f"""
  {name}: {{groups: [{name}, {name}-leads], description: "who works on {name}"}}
  {name}-leads: {{groups: [{name}-leads], includes: [{name}]}}
""",
        f"""
  - id: {name}.reads
    description: what everyone of {name} may see
    plane: inbound
    roles: [{name}]
    operations: ["dags:read", "dag_runs:read", "task_instances:read", "task_logs:read"]
    dags: ["{name}_*"]
  - id: {name}.runs
    plane: inbound
    roles: [{name}-leads]
    operations: ["dag_runs:create", "dag_runs:update"]
    dags: ["{name}_*"]
  - id: {name}.orders
    plane: egress
    roles: [{name}]
    hosts: [orders.internal]
    methods: [GET, POST]
    paths: ["/v1/orders/{name}/{{id}}", "/v1/customers/{name}/**"]
""",
    )


def plain(teams):
    """A good policy as people write it."""
    parts = [_team(number) for number in range(teams)]
    return HEAD + "roles:\n" + "".join(one for one, _ in parts) + "rules:\n" + "".join(one for _, one in parts)


def tested(teams, tests):
    """A good policy with so many tests of it, each about another team."""
    lines = [_test(number % teams, number) for number in range(tests)]
    return plain(teams) + "tests:\n" + "".join(f"  - {line}\n" for line in lines)


def _test(team, number):
    name = f"team{team:05}"
    asked = f"GET /v1/orders/{name}/{number}, host: orders.internal, plane: egress"
    return (
        f'{{who: {{groups: [{name}-leads]}}, operation: "dag_runs:create", dag: {name}_x{number}, expect: allow}}',
        f"{{who: {{groups: [{name}]}}, request: GET /api/v2/dags/other{number}, expect: deny, reason: no_rule}}",
        f"{{who: {{groups: [{name}]}}, request: {asked}, expect: allow, rule: {name}.orders}}",
    )[number % 3]


def tests(line):
    return lambda n: plain(1) + "tests:\n" + "".join(line.replace("N", f"{i:06}") + "\n" for i in range(n))


def never(line):
    return lambda n: plain(1) + "never:\n" + "".join(line.replace("N", f"{i:06}") + "\n" for i in range(n))


def sized(shape, size):
    """The policy of a shape that has about so many bytes."""
    count = 400
    for _ in range(3):  # numbers grow longer with their count
        count = max(1, round(count * size / len(shape(count))))
    return shape(count).encode()


def granted(count):
    """Entries of `grantable`, each of which gives the role that may ask for the one before."""
    asking = [f"r{number}" for number in range(count)]
    entries = (
        f"  - {{id: e{number}, requesters: [r{number + 1}], approvers: [viewer], longest: 1d, roles: [{role}]}}\n"
        for number, role in enumerate(asking)
    )
    named = "".join(f"  {role}: {{}}\n" for role in asking) + f"  r{count}: {{groups: [h]}}\n"
    return f"{HEAD}roles:\n  viewer: {{groups: [g]}}\n{named}{RULE}grantable:\n{''.join(entries)}"


SHAPES = {
    "a chain of entries of grantable": granted,
    "a plain good policy": plain,
    "two slips in each rule": rules("  - {id: xN, plane: inbound, rolles: [viewer], operations: ['dags:reed']}"),
    "other unknown names in each rule": lambda n: (
        HEAD
        + ONE_ROLE
        + "rules:\n"
        + "".join(
            f"  - {{id: x{i}, plane: inbound, roles: [viewer{i}], operations: ['dags:{letters(i)}']}}\n"
            for i in range(n)
        )
    ),
    "equal ids": rules("  - {id: same, plane: inbound, roles: [viewer], operations: ['dags:read']}"),
    "a circle of roles": roles(lambda i, n: f"{{groups: [g], includes: [r{(i + 1) % n}]}}"),
    "unknown roles": roles(lambda i, n: f"{{groups: [g], includes: [x{i}]}}"),
    "one group": roles(lambda i, n: "{groups: [g]}"),
    "a role and a rule for it": lambda n: (
        HEAD
        + "roles:\n"
        + "".join(f"  r{i}: {{groups: [g]}}\n" for i in range(n))
        + "rules:\n"
        + "".join(f"  - {{id: x{i}, plane: inbound, roles: [r{i}], operations: ['*:read']}}\n" for i in range(n))
    ),
    "rules for a role that includes 300": lambda n: (
        HEAD
        + "roles:\n  r0: {groups: [g]}\n"
        + "".join(f"  r{i}: {{groups: [g], includes: [r{i - 1}]}}\n" for i in range(1, 300))
        + "rules:\n"
        + "".join(f"  - {{id: x{i}, plane: inbound, roles: [r299], operations: ['*']}}\n" for i in range(n))
    ),
    "rules for other DAGs": rules(
        "  - {id: xN, plane: inbound, roles: [viewer], operations: ['dags:read'], dags: [tN]}"
    ),
    "rules for other paths": rules(
        "  - {id: xN, plane: inbound, roles: [viewer], operations: ['*'], paths: ['/api/v2/N*']}"
    ),
    "a policy of tests": lambda n: tested(3, n),
    "two slips in each test": tests(
        "  - {name: tN, who: tem00000, request: GET //N, expect: allow, rule: team00000.N}"
    ),
    "a test that fails in each line": tests("  - {who: anonymous, request: GET /xN, expect: allow}"),
    "one table": lambda n: (
        plain(1)
        + "tests:\n  - who: authenticated\n    table:\n"
        + "".join(f"      GET /api/v2/pools/p{i:06}: deny\n" for i in range(n))
    ),
    "entries of never that hold": never(
        "  - {name: nN, except: [team00000-leads], operations: ['dag_runs:create'], dags: ['xN_*']}"
    ),
    "entries of never that do not hold": never("  - {name: nN, roles: [team00000], operations: ['dag_runs:*']}"),
    "two slips in each entry of never": never("  - {name: nN, rolles: [team00000], operations: ['dag_run:*']}"),
    "rules beside twenty entries of never": lambda n: (
        plain(n)
        + "never:\n"
        + "".join(
            f"  - {{except: [team{i:05}], dags: ['team{i:05}_*'], plane: inbound, operations: ['dags:*']}}\n"
            f"  - {{except: [team{i:05}], plane: egress, hosts: [orders.internal], paths: ['/v1/*/team{i:05}/**']}}\n"
            for i in range(10)
        )
    ),
    "deny rules beside allow rules": rules(
        "  - {id: xN, plane: inbound, roles: [viewer], paths: ['/pN/**']}\n"
        "  - {id: dN, plane: inbound, deny: true, roles: [viewer], paths: ['/qN/**']}"
    ),
}
