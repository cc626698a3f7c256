"""The task's side of the outbound plane: identifies the caller to the gate, without a change to the DAG.

Law: nothing here decides anything. What a task holds only distinguishes it from other tasks; the gate evaluates every
call and denies a call without identity. Tokens live in memory only, except in the form that proxy variables need; they
are in no repr, no log, no XCom and no pickle. This package imports nothing of the server, and `requests`, `httpx` and
`aiohttp` only in the module that is for them.

    for_requests.RunAuth          auth for `requests`
    for_httpx.RunAuth             auth for `httpx`, synchronous and asynchronous
    for_aiohttp.RunMiddleware     middleware for `aiohttp`
    hook.GateHttpHook             what the connection type `authz-http` makes of an unchanged `HttpOperator`
    deferrable.GateHttpOperator   for deferred calls, which a service account asserts
    connections.RunConnections    secrets backend, for what builds its hook itself
    plugin                        sets the proxy variables of a task

docs/tasks.md says what each covers.
"""
