"""A task that does what the test tells it, while it runs: the tests' hand inside Airflow. Airflow loads this file too.

The task connects to the test, says who it is, and then executes the Python that it is sent, line by line of the
protocol: one JSON text per line each way. It ends well when the test hangs up, and fails when the test says so.
"""

import contextlib
import io
import json
import os
import socket
import traceback

TIMEOUT_S = 1200  # nobody is held for longer than this without a word


def puppet(number=0, **context):
    """The body of the task. `number` is for mapped ones, which have to differ in something."""
    instance = context["ti"]
    port = int(context["dag_run"].conf["port"])
    names = {"task": puppet, "context": context, "instance": instance, "number": number}
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection, connection.makefile("rw") as lines:
        say(
            lines,
            id=str(instance.id),
            dag_id=instance.dag_id,
            run_id=instance.run_id,
            task_id=instance.task_id,
            map_index=instance.map_index,
            try_number=instance.try_number,
            pid=os.getpid(),
            uid=os.getuid(),
        )
        for line in lines:
            told = json.loads(line)
            if "fail" in told:
                raise RuntimeError(told["fail"])
            say(lines, **perform(told["code"], names))


def perform(code, names):
    """Execute; the answer is what the code leaves in `result`, or its error."""
    names.pop("result", None)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "<test>", "exec"), names)  # noqa: S102 this is the purpose of a puppet
        answer = {"result": names.get("result")}
        json.dumps(answer)
    except BaseException as error:  # noqa: BLE001 whatever it is, the test is told
        answer = {"error": type(error).__name__, "text": str(error), "trace": traceback.format_exc()}
    return answer


def say(lines, **words):
    lines.write(json.dumps(words) + "\n")
    lines.flush()
