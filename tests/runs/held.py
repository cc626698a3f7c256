"""A running task and what it has: its execution token, and run identity tokens that it asks for."""

from tests.runs.dag_files import thief

TAKE = """
import thief
workload = thief.own_workload_token(str(instance.id))
_, result, _ = thief.execution_token(execution, workload, str(instance.id))
"""


class Held:
    """A puppet whose own Airflow tokens were taken out of its memory, as its code can.

    `workload` is what it was started with, `bearer` its execution token, `said` what it truthfully says to be.
    """

    def __init__(self, puppet, way):
        self.puppet = puppet
        self._way = way
        self.bearer = puppet.do(TAKE, execution=way.execution)
        assert self.bearer, "Airflow gave no execution token"
        self.workload = puppet.do("result = workload")
        names = {"d": "dag_id", "r": "run_id", "t": "task_id", "m": "map_index", "n": "try_number"}
        self.said = {letter: puppet.told[name] for letter, name in names.items()}

    def ask(self, holder, *, bearer=None, way=None, **changes):
        """Ask the gate for a token: status and answer. Changes go to what is said of the task."""
        said = {name: value for name, value in {**self.said, **changes}.items() if value is not ...}
        return thief.ask((way or self._way).execution, bearer or self.bearer, holder, said)

    def token(self, holder="proxy", *, way=None):
        """A token for whoever holds the key of this thumbprint; without one, of the proxy form."""
        status, answer = self.ask(holder, way=way)
        assert status == 200, answer
        return answer["token"]

    def key_and_token(self):
        """A token, and the key that it is bound to."""
        key = thief.Key()
        return key, self.token(key.thumbprint)
