"""Airflow's levels: the weakest FAB role per permission, written down once more as FAB's own tables have it."""

import itertools

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity

from authz.airflow import levels
from authz.airflow.verifier import AIRFLOW_ROLES

METHODS = ("GET", "POST", "PUT", "DELETE")


def weakest(allowed):
    return next((role for role in AIRFLOW_ROLES if allowed(role)), None)


# (GET, POST, PUT, DELETE) as FAB provider 3.10.2 grants them by default; "admin" where FAB has no such permission.
FAB_RESOURCES = {
    "asset": ("viewer", "user", "op", "op"),
    "asset_alias": ("viewer", "admin", "admin", "admin"),
    "configuration": ("op", "admin", "admin", "admin"),
    "connection": ("op", "op", "op", "op"),
    "dag": ("viewer", "admin", "user", "user"),
    "pool": ("viewer", "op", "op", "op"),
    "variable": ("op", "op", "op", "op"),
}
FAB_DAG = {
    None: ("viewer", "admin", "user", "user"),
    "AUDIT_LOG": ("admin", "admin", "admin", "admin"),
    "CODE": ("viewer", "admin", "admin", "admin"),
    "DEPENDENCIES": ("viewer", "admin", "admin", "admin"),
    "HITL_DETAIL": ("viewer", "admin", "user", "admin"),
    "RUN": ("viewer", "user", "user", "user"),
    "TASK": ("viewer", "user", "user", "user"),
    "TASK_INSTANCE": ("viewer", "user", "user", "user"),
    "TASK_LOGS": ("viewer", "admin", "admin", "admin"),
    "VERSION": ("viewer", "admin", "admin", "admin"),
    "WARNING": ("viewer", "admin", "admin", "admin"),
    "XCOM": ("viewer", "op", "op", "op"),
}


@pytest.mark.parametrize("resource", FAB_RESOURCES)
def test_resources_have_fabs_levels(resource):
    found = tuple(weakest(lambda role, method=method: levels.may(role, method, resource)) for method in METHODS)
    assert found == FAB_RESOURCES[resource]


@pytest.mark.parametrize("entity", FAB_DAG)
def test_dags_have_fabs_levels(entity):
    found = tuple(weakest(lambda role, method=method: levels.may_dag(role, method, entity)) for method in METHODS)
    assert found == FAB_DAG[entity]


def test_every_table_names_exactly_what_airflow_has():
    assert set(levels.DAG_ENTITIES) == {entity.name for entity in DagAccessEntity}
    assert set(levels.VIEWS) == {view.name for view in AccessView}


def test_a_stronger_role_has_every_right_of_a_weaker_one():
    for weaker, stronger in itertools.pairwise(AIRFLOW_ROLES):
        for method, resource in itertools.product(METHODS, FAB_RESOURCES):
            assert levels.may(stronger, method, resource) >= levels.may(weaker, method, resource)
        for method, entity in itertools.product(METHODS, FAB_DAG):
            assert levels.may_dag(stronger, method, entity) >= levels.may_dag(weaker, method, entity)


def test_views():
    assert weakest(lambda role: levels.may_view(role, "JOBS")) == "viewer"
    assert weakest(lambda role: levels.may_view(role, "PLUGINS")) == "op"
    assert weakest(lambda role: levels.may_view(role, "TRIGGERS")) == "admin"


def test_what_is_new_in_airflow_is_for_admins_alone():
    assert weakest(lambda role: levels.may_dag(role, "GET", "SOMETHING_NEW")) == "admin"
    assert weakest(lambda role: levels.may_view(role, "SOMETHING_NEW")) == "admin"
    assert weakest(lambda role: levels.may(role, "PATCH", "dag")) == "admin"


@pytest.mark.parametrize("role", ["", "Admin", "root"])
def test_no_role_and_unknown_roles_have_no_right(role):
    assert not levels.may(role, "GET", "dag")
    assert not levels.may_dag(role, "GET", "RUN")
    assert not levels.may_view(role, "WEBSITE")
