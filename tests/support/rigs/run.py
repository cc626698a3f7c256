"""The service with run identity: an Airflow that is a real server, a table of used proofs, tasks that ask and call.

with RunRig(folder) as rig:
    task = rig.airflow.add()
    key = task_key()
    token = rig.token_of(task, key)                       what the gate gives to this task
    answer = rig.call(token, key)                         a call with that token and a proof
"""

import base64
import json
import threading
import time

from authz.authn.run_exchange import AIRFLOW, Exchange
from authz.authn.run_identity import RunIdentities
from authz.authn.run_minter import RunMinter, asking_as
from authz.check.parts import Runs
from authz.core.caching.rate_limit import FairShare
from authz.core.jose import jwks
from authz.core.model import Issuer
from authz.core.parked import Parked
from authz.core.runs import run_token
from authz.keys import KeyState
from authz.runs.airflow_rest import AirflowRest
from authz.runs.replay_table import Replays
from authz.runs.task_states import TaskStates
from tests.support.factories.proofs import prove, thumbprint
from tests.support.factories.tokens import NOW, b64, dump, jwks_of, make_key, sign
from tests.support.rigs.service import POLICY, SIGNING_KEY, Rig, message, read
from tests.support.simulators.airflow import AirflowSimulator
from tests.support.simulators.idp import PATIENCE_S

GATE = "https://gate.test"
AIRFLOW_ISS = "https://airflow.test"
AIRFLOW_KEY = make_key("EdDSA", kid="airflow-1")
NEXT_AIRFLOW_KEY = make_key("EdDSA", kid="airflow-2")
HOST = "orders.internal:8090"
# Every caller with a good token may read orders: who that is, is the question here.
OPEN = POLICY.replace(
    "  - {id: agents-never-delete",
    '  - {id: anybody, plane: egress, roles: [authenticated], hosts: [orders.internal], paths: ["/v1/orders"],'
    " methods: [GET]}\n  - {id: agents-never-delete",
)


def task_claims(task, **changes):
    """The claims of Airflow's token for a running task."""
    base = {
        "jti": "t-1",
        "iss": AIRFLOW_ISS,
        "aud": "urn:airflow.apache.org:task",
        "sub": task.id,
        "scope": "execution",
        "nbf": NOW,
        "iat": NOW,
        "exp": NOW + 600,
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def described(task, **changes):
    """What a task says of itself, in base64url; a value of None leaves the member out."""
    base = {"d": task.dag_id, "r": task.run_id, "t": task.task_id, "m": task.map_index, "n": task.try_number}
    return b64(dump({name: value for name, value in {**base, **changes}.items() if value is not None}))


class RunRig(Rig):
    """A rig with an Airflow. `isolated`, `recheck`, `slots` and `share` are settings of run identity."""

    def __init__(
        self, folder, text=OPEN, *, isolated=True, recheck=15.0, slots=1000, timeout_s=2.0, share=500, **parts
    ):
        self.airflow = AirflowSimulator()
        self.key_requests = []
        self.fetched = []
        self.levels = []
        self.questions = []
        super().__init__(text)
        self.keys[AIRFLOW] = self.airflow_keys(AIRFLOW_KEY)
        self.replays = Replays(folder / "replays", slots)
        rest = AirflowRest(self.airflow.url, self._asking, timeout_s=timeout_s)
        self.states = TaskStates(
            rest, self.clock, recheck=recheck, observe=lambda *values: self.questions.append(values)
        )
        self.identities = RunIdentities(
            authenticator=self.authenticator,
            keys=run_token.public_keys([SIGNING_KEY]),
            issuer=GATE,
            isolated=isolated,
            states=self.states,
            replays=self.replays,
            share=FairShare(share, 60),
        )
        self.exchange = Exchange(
            issuer=Issuer(
                name=AIRFLOW,
                issuer=AIRFLOW_ISS,
                audiences={},
                algorithms=frozenset({"EdDSA", "RS256"}),
                discovery=False,
                jwks_uri="https://airflow.test/jwks",
            ),
            minter=RunMinter([SIGNING_KEY], issuer=GATE, lifetime=120, proxy_lifetime=300),
            states=self.states,
            keys=lambda: self.keys,
            want_key=self._want_key,
            level=self.identities.level,
            max_token_bytes=9999,
            clock=self.clock,
        )
        self.exchange.note_keys(self.keys[AIRFLOW].keyset)
        runs = Runs(identities=self.identities, exchange=self.exchange, count=lambda *two: self.levels.append(two))
        self.service._runs = runs
        for name, part in parts.items():
            setattr(self.service, name, part)

    def __enter__(self):
        self.airflow.__enter__()
        self.states.start()
        return self

    def __exit__(self, *_):
        self.airflow.stop()
        self.states.stop()
        self.replays.close()

    def _asking(self):
        return asking_as(SIGNING_KEY, issuer=GATE, audience="airflow", now=self.clock.wall())

    def airflow_keys(self, *keys, last_error="", stale_at=1e12):
        keyset = jwks.parse(jwks_of(keys)) if keys else None
        return KeyState(issuer=AIRFLOW_ISS, keyset=keyset, fetched_at=0.0, stale_at=stale_at, last_error=last_error)

    def _want_key(self, issuer, kid, done):
        """A key store that fetches at once, in a thread of its own, what the test put into `fetched`."""
        self.key_requests.append((issuer, kid))
        if not self.fetched:
            return False
        found = self.fetched.pop(0)

        def fetch():
            self.keys = {**self.keys, issuer: found}
            self.exchange.note_keys(found.keyset)
            done()

        threading.Thread(target=fetch).start()
        return True

    def settle(self, outcome):
        """The answer, after whatever it waits for."""
        if isinstance(outcome, Parked):
            done = threading.Event()
            if outcome.begin(done.set):
                assert done.wait(PATIENCE_S), "nobody is told that the waiting is over"
            outcome = outcome.resume()
        return read(outcome)

    def until(self, condition):
        """Wait until something has happened in the threads that ask."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "it does not happen"
            time.sleep(0.001)

    def settle_now(self, outcome):
        """The answer to somebody whose time is over."""
        return read(outcome.resume())

    def task_token(self, task, key=AIRFLOW_KEY, **changes):
        return sign(task_claims(task, **changes), key)

    def target(self, task, key=None, **changes):
        holder = "proxy" if key is None else thumbprint(key)
        return f"/execution/variables/__run_identity__/v1/{holder}/{described(task, **changes)}"

    def asks(self, task, key=None, *, token=None, target=None, method="GET", headers=None, **changes):
        """A task asks who it is; the raw outcome. `changes` are changes of what it says of itself."""
        token = token or self.task_token(task)
        lines = [("authorization", f"Bearer {token}".encode())] if headers is None else headers
        return self.service.check(
            message(method, target or self.target(task, key, **changes), headers=lines, plane="execution", audience="")
        )

    def ask_identity(self, *arguments, **options):
        return self.settle(self.asks(*arguments, **options))

    def token_of(self, task, key=None):
        """The token that the gate gives to the task."""
        answer = self.ask_identity(task, key)
        assert answer.http == 200, answer
        return json.loads(json.loads(answer.body)["value"])["token"]

    def calls(
        self,
        token,
        key=None,
        *,
        proof=None,
        target="/v1/orders",
        host=HOST,
        method="GET",
        headers=(),
        told=None,
        **claims,
    ):
        """A call of a task, with a proof where it has a key; the raw outcome. `claims` change the proof's."""
        lines = []
        if token is not None and key is None and proof is None:
            lines.append(("proxy-authorization", f"Bearer {token}".encode()))
        elif token is not None:
            lines.append(("x-run-identity", f"DPoP {token}".encode()))
            path = target.partition("?")[0]
            told_claims = {"iat": int(self.clock.wall()), "htm": method, "htu": f"http://{host}{path}", **claims}
            made = prove(key, token, **told_claims) if proof is None else proof
            lines += [("x-run-proof", made)] if made else []
        return self.service.check(
            message(
                method,
                target,
                headers=[*lines, *headers],
                plane="egress",
                host=host,
                extensions={"audience": "", "destination": "orders", **(told or {})},
            )
        )

    def call(self, *arguments, **options):
        return self.settle(self.calls(*arguments, **options))


def basic(token, user="run"):
    """The line of Proxy-Authorization that `http://run:token@proxy` makes."""
    return b"Basic " + base64.b64encode(f"{user}:{token}".encode())
