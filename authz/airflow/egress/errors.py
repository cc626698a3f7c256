"""Why a call cannot carry the identity of its run.

Law: every message is for the reader of a task log: what is wrong, and who can fix it. None contains a token.

    EgressError
    ├── NoRunError           there is no running task here
    ├── RefusedError         the gate does not give this task an identity
    ├── UnavailableError     it is not available now: trying again later may help
    │   └── NotServedError   the request went to Airflow itself, past the gate
    ├── NotConfiguredError   no service account is configured to assert the run
    └── ForeignOriginError   the call, or a redirect, goes where the identity must not go
"""


class EgressError(Exception):
    """The call was not sent."""


class NoRunError(EgressError):
    """There is no running task here: a DAG is parsed, a command runs, or the task is over."""


class RefusedError(EgressError):
    """The gate does not give this task an identity. Asking again does not help."""


class UnavailableError(EgressError):
    """The identity is not available now."""


class NotServedError(UnavailableError):
    """Airflow itself was asked for the identity, not the gate."""


class NotConfiguredError(EgressError):
    """There is no service account that could assert the run."""


class ForeignOriginError(EgressError):
    """The identity was meant for another scheme, host or port."""
