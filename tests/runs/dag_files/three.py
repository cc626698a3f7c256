"""A DAG of three tasks, one after the other."""

import os
from datetime import UTC, datetime

from airflow.sdk import DAG, task


def add(number):
    return number + 1


def user(number):
    return [number, os.getuid()]


with DAG("three", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    task(user)(task(add, task_id="second")(task(add, task_id="first")(0)))
