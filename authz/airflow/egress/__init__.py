"""The task's side of the outbound plane: identifies the caller to the gate, without a change to the DAG.

Law: nothing here decides anything. A task's token only distinguishes it from other tasks; the gate evaluates every
call and denies a call without identity. Tokens live in memory only, except in the form that proxy variables need; they
are in no repr, no log, no XCom and no pickle. This package imports none of the server's code, and `requests`, `httpx`
and `aiohttp` only in the module for each.

    for_requests.RunAuth          auth for `requests`
    for_httpx.RunAuth             auth for `httpx`, synchronous and asynchronous
    for_aiohttp.RunMiddleware     middleware for `aiohttp`
    hook.GateHttpHook             the hook of the connection type `authz-http`, for an unchanged `HttpOperator`
    deferrable.GateHttpOperator   for deferred calls, identified by a service account
    connections.RunConnections    secrets backend, for operators that build their own hook
    plugin                        sets the proxy variables of a task

docs/tasks.md says what each covers.
"""
