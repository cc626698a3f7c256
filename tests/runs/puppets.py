"""The test's side of `dag_files/puppet.py`: tasks that run while the test holds them, and do what it tells them.

with Puppets() as puppets:
    run = site.trigger("sales", conf=puppets.conf)
    task = puppets.get("sales", "extract")
    assert task.do("result = 1 + 1") == 2
"""

import contextlib
import json
import socket
import textwrap
import threading

PATIENCE_S = 180  # on a busy machine: until a task that was triggered runs, and for one thing that it is told


class TaskError(Exception):
    """What a task was told to do failed. `kind` is the name of the exception's class there."""

    def __init__(self, answer):
        super().__init__(answer["trace"])
        self.kind = answer["error"]
        self.text = answer["text"]


class Puppet:
    """One running try of a task instance. `id` and its fellows are what the task says of itself."""

    def __init__(self, connection):
        connection.settimeout(PATIENCE_S)
        self._connection = connection
        self._lines = connection.makefile("rw")
        self.told = json.loads(self._lines.readline())

    def __getattr__(self, name):
        try:
            return self.told[name]
        except KeyError:
            raise AttributeError(name) from None

    def do(self, code, **names):
        """Execute this in the task, after `names`; returns what it leaves in `result`."""
        given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        self._say(code=given + textwrap.dedent(code))
        answer = json.loads(self._lines.readline())
        if "error" in answer:
            raise TaskError(answer)
        return answer["result"]

    def fail(self, text="as told"):
        """Let the task end with an error."""
        self._say(fail=text)
        self.end()

    def end(self):
        """Let the task end well."""
        self._lines.close()
        self._connection.close()

    def _say(self, **words):
        self._lines.write(json.dumps(words) + "\n")
        self._lines.flush()


class Puppets:
    """All that have come. Leaving lets them go."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._changed = threading.Condition()
        self._all = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.conf = {"port": self._server.getsockname()[1]}

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(PATIENCE_S)
        for puppet in self._all:
            with contextlib.suppress(OSError):
                puppet.end()

    def get(self, dag_id, task_id, *, map_index=-1, try_number=1, run_id=None):
        """The running try, once it has come."""
        wanted = {"dag_id": dag_id, "task_id": task_id, "map_index": map_index, "try_number": try_number}
        wanted |= {"run_id": run_id} if run_id else {}

        def found():
            return [one for one in self._all if wanted.items() <= one.told.items()]

        with self._changed:
            assert self._changed.wait_for(found, PATIENCE_S), f"it never ran: {wanted}"
            return found()[-1]

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                puppet = Puppet(connection)
                with self._changed:
                    self._all.append(puppet)
                    self._changed.notify_all()
