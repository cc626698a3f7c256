"""Runs inside an Airflow with FAB: makes its people and, for each of them, everything that a request can be about.

Law: FAB itself makes its roles and users. What is made here is made once for each person, so that nobody's request
takes away what somebody else's needs. It writes a JSON file: the ids that Airflow chose, and FAB's own answers.
"""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.models.asset import AssetAliasModel, AssetDagRunQueue, AssetModel, AssetPartitionDagRun
from airflow.models.asset_state_store import AssetStateStoreModel
from airflow.models.backfill import _create_backfill
from airflow.models.connection import Connection
from airflow.models.connection_test import ConnectionTestRequest
from airflow.models.dagbag import DBDagBag
from airflow.models.errors import ParseImportError
from airflow.models.hitl import HITLDetail
from airflow.models.log import Log
from airflow.models.pool import Pool
from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

START = datetime(2026, 1, 10, tzinfo=UTC)
RUNS = ("run", "gone", "cleared", "emptied", "over")
KEYS = ("there", "gone", "bulk")
ROLES = {"viewer": "Viewer", "user": "User", "op": "Op", "admin": "Admin"}


def make_people(security, people):
    """Users whose passwords are their names; FAB syncs its roles first."""
    security.sync_roles()
    for name in people:
        roles = [security.find_role(ROLES[name])] if name in ROLES else []
        made = security.add_user(name, name, name, f"{name}@parity.test", roles, password=name)
        assert made, name


def fab_says(user):
    """What FAB's auth manager answers to all that Airflow can ask it about a user but the menu, by what is asked."""
    manager = get_auth_manager()
    details = DagDetails(id="parity_admin")
    found = {}
    for method in ("GET", "POST", "PUT", "DELETE"):
        for kind in ("asset", "asset_alias", "configuration", "connection", "dag", "pool", "variable"):
            found[f"{kind} {method}"] = getattr(manager, f"is_authorized_{kind}")(method=method, user=user)
        for entity in DagAccessEntity:
            asked = {"method": method, "access_entity": entity, "user": user}
            found[f"dag.{entity.name} {method}"] = manager.is_authorized_dag(**asked, details=details)
        found[f"one dag {method}"] = manager.is_authorized_dag(method=method, details=details, user=user)
    for view in AccessView:
        found[f"view {view.name}"] = manager.is_authorized_view(access_view=view, user=user)
    return found


def make_runs(person, session):
    """Finished runs with their task instances, one of which asks a question."""
    dag = DBDagBag().get_latest_version_of_dag(f"parity_{person}", session=session)
    for number, run_id in enumerate(RUNS):
        when = START + timedelta(days=number)
        run = dag.create_dagrun(
            run_id=run_id,
            logical_date=when,
            data_interval=(when, when),
            run_after=when,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.SUCCESS,
            session=session,
        )
        session.flush()
        for instance in run.get_task_instances(session=session):
            instance.state = TaskInstanceState.SUCCESS
            instance.try_number = 1
        only = run.get_task_instance("only", session=session)
        session.add(HITLDetail(ti_id=only.id, options=["yes"], subject="?", params={}))
        for key in KEYS:
            place = {"task_id": "only", "dag_id": dag.dag_id, "run_id": run_id}
            XComModel.set(key=key, value="1", **place, session=session)
            session.add(TaskStateStoreModel(key=key, value="1", dag_run_id=run.id, **place))


def make_things(person, session):
    """What has no DAG: connections, variables, pools; and what waits for an asset."""
    for name in KEYS:
        session.add(Connection(conn_id=f"{person}_{name}", conn_type="http", host="127.0.0.1"))
        session.add(Pool(pool=f"{person}_{name}", slots=1, include_deferred=False))
        Variable.set(f"{person}_{name}", "1", session=session)
    assets = session.scalars(select(AssetModel).where(AssetModel.uri.startswith(f"parity://{person}/"))).all()
    for asset in assets:
        for dag in ("waits", "waits_too"):
            session.add(AssetDagRunQueue(asset_id=asset.id, target_dag_id=f"parity_{person}_{dag}"))
        for key in KEYS:
            session.add(AssetStateStoreModel(asset_id=asset.id, key=key, value="1"))
    session.add(AssetPartitionDagRun(target_dag_id=f"parity_{person}", partition_key="x"))
    alias = AssetAliasModel(name=f"alias_{person}")
    error = ParseImportError(bundle_name="dags-folder", filename="broken.py", stacktrace="none", timestamp=START)
    log = Log(event="parity", dag_id=f"parity_{person}")
    test = ConnectionTestRequest(connection_id=f"{person}_tested", conn_type="http")
    session.add_all([alias, error, log, test])
    session.flush()
    found = {"alias": alias.id, "import_error": error.id, "event_log": log.id, "connection_test": test.token}
    return found | {f"asset_{asset.name.partition('_')[0]}": asset.id for asset in assets}


def main(people):
    """Make it all and return what the requests need to know."""
    with get_application_builder() as builder:
        known = [name for name in people if name != "nobody"]
        make_people(builder.sm, known)
        answers = {name: fab_says(builder.sm.find_user(name)) for name in known}
    ids = {}
    for person in people:
        with create_session() as session:
            make_runs(person, session)
            ids[person] = make_things(person, session)
        made = _create_backfill(
            dag_id=f"parity_{person}",
            from_date=START + timedelta(days=30),
            to_date=START + timedelta(days=31),
            max_active_runs=1,
            reverse=False,
            dag_run_conf=None,
            triggering_user_name=person,
        )
        ids[person]["backfill"] = made.id
    return {"ids": ids, "fab": answers}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(main(sys.argv[2:])))
