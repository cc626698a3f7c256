"""A policy with files of two teams, for tests."""

from authz.core.policy import Bundle
from authz.core.policy.bundle import Part
from tests.support.factories.policies import ISSUERS

SALES, HR = "teams/sales.yaml", "teams/hr.yaml"
INCLUDE = f"""
  - {{file: {SALES}, team: sales, destinations: [warehouse]}}
  - {{file: {HR}, team: hr}}
"""
MAIN = """version: 1
include:{include}
issuers:{issuers}
teams:
  - {{names: [sales, hr], dags: ["{{team}}_*"]}}
roles:
  "{{team}}-viewer": {{groups: ["airflow-{{team}}-viewers"]}}
  admin: {{groups: [admins]}}
  everyone: {{groups: [all]}}
{more}
rules:
  - {{id: admins, plane: inbound, roles: [admin], operations: ["*"]}}
  - {{id: team-see, plane: inbound, roles: ["{{team}}-viewer"], operations: ["ui:read"], dags: team}}
  - {{id: all-see, plane: inbound, roles: [sales-viewer, hr-viewer], operations: ["dags:read"], dags: ["*"]}}
"""
VIEW = '{id: view, plane: inbound, roles: [%s-viewer], operations: ["dag_runs:read"], dags: team}'
SECRET = "{id: secret, plane: inbound, deny: true, dags: [%s_secret]}"


def main(*, include=INCLUDE, more=""):
    """The text of the policy file."""
    return MAIN.format(include=include, more=more, issuers=ISSUERS)


def rules(*lines, more=""):
    """The text of a team's file."""
    return "".join(["rules:\n", *(f"  - {line}\n" for line in lines), more]) if lines else f"rules: []\n{more}"


GOOD_SALES = rules(VIEW % "sales", SECRET % "sales")
GOOD_HR = rules(VIEW % "hr")


def bundle(sales=GOOD_SALES, hr=GOOD_HR, *, text=None, file="policy.yaml"):
    """The policy with these files; a file that is None cannot be read."""
    parts = [
        Part(name, b"", "Permission denied") if content is None else Part(name, content.encode())
        for name, content in ((HR, hr), (SALES, sales))
    ]
    return Bundle((text if text is not None else main()).encode(), file, tuple(parts))
