from tests.support.factories.policies import ISSUERS, claims, load

TWO_ISSUERS = f"""{ISSUERS}
  - name: partner
    issuer: https://partner.example.com
    audiences: {{inbound: [airflow]}}
    algorithms: [ES256]
"""


def roles_of(loaded, **who):
    return set(loaded.identify(claims(**who)).roles)


def test_groups_clients_and_subjects_give_roles():
    loaded = load(roles="\n  a: {groups: [g1, g2]}\n  b: {clients: [c]}\n  c: {subjects: [s]}\n  d: {groups: [g2]}\n")
    assert roles_of(loaded, groups=["g1", "other"]) == {"a"}
    assert roles_of(loaded, groups=["g2"]) == {"a", "d"}
    assert roles_of(loaded, client="c", groups=["g1"]) == {"a", "b"}
    assert roles_of(loaded, subject="s") == {"c"}
    assert roles_of(loaded, groups=["c", "s"], client="g1", subject="g1") == set()
    assert roles_of(loaded) == set()


def test_names_are_compared_exactly():
    loaded = load(roles="\n  a: {groups: [Admins]}\n")
    for near in ("admins", "Admins ", "Admin", "/Admins", "\u0410dmins"):
        assert roles_of(loaded, groups=[near]) == set()


def test_included_roles_come_along_at_any_depth():
    loaded = load()
    assert roles_of(loaded, groups=["data-ops"]) == {"op", "user", "viewer"}
    assert roles_of(loaded, groups=["data-readers"]) == {"viewer"}


def test_a_role_may_be_limited_to_issuers():
    loaded = load(
        issuers=TWO_ISSUERS,
        roles="\n  a: {groups: [g], issuers: [corp]}\n  b: {groups: [g]}\n"
        "  c: {issuers: [partner], includes: [d]}\n  d: {clients: [x]}\n",
    )
    assert roles_of(loaded, groups=["g"], issuer="corp") == {"a", "b"}
    assert roles_of(loaded, groups=["g"], issuer="partner") == {"b", "c", "d"}


def test_an_issuer_that_is_not_in_the_policy_gives_nothing():
    loaded = load(roles="\n  a: {groups: [g]}\n")
    assert roles_of(loaded, groups=["g"], issuer="gone") == set()


def test_equal_roles_of_any_number_of_people_are_one_object():
    loaded = load()
    one, other = (loaded.identify(claims(groups=["data-ops"], subject=who)) for who in ("alice", "bob"))
    assert one.roles is other.roles
    assert one.claims.subject != other.claims.subject


def test_a_flood_of_combinations_of_roles_is_not_kept():
    count = 11
    loaded = load(roles="".join(f"\n  r{n}: {{groups: [g{n}]}}" for n in range(count)) + "\n")
    for bits in range(2**count):
        groups = [f"g{n}" for n in range(count) if bits >> n & 1]
        assert roles_of(loaded, groups=groups) == {f"r{group[1:]}" for group in groups}
        assert len(loaded.roster._known) <= 1_024


def test_whoever_has_an_agent_role_is_an_agent():
    loaded = load(
        roles="\n  bot: {clients: [bot], agent: true}\n  boss: {groups: [b], includes: [bot]}\n  a: {groups: [a]}\n"
    )
    assert loaded.identify(claims(client="bot")).agent
    assert loaded.identify(claims(groups=["b"])).agent
    assert not loaded.identify(claims(groups=["a"])).agent


def test_the_strongest_airflow_role_counts():
    loaded = load("{id: a, plane: inbound, roles: [sales-etl], operations: [dag_runs:create]}")
    assert loaded.identify(claims(groups=["data-ops", "data-readers"])).airflow_role == "op"
    assert loaded.identify(claims(client="sales-etl")).airflow_role == "user"
    assert loaded.identify(claims(client="copilot")).airflow_role == ""


def test_everyone_has_what_authenticated_is_to_airflow():
    loaded = load("{id: a, plane: inbound, roles: [authenticated], operations: [dags:read]}")
    assert loaded.identify(claims()).airflow_role == "viewer"
    assert loaded.identify(claims(groups=["data-ops"])).airflow_role == "op"
    assert loaded.identify(claims(issuer="gone")).airflow_role == "viewer"


def test_the_claims_are_kept():
    who = claims(groups=["data-ops"])
    assert load().identify(who).claims is who
