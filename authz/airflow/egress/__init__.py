"""The task's side of the outbound plane: who a call comes from, told to the gate, with no change of the DAG.

Law: nothing here decides anything. What a task holds lets it be told from other tasks, no more; the gate judges every
call, and a call without identity is denied there. Tokens live in memory alone, but for the form that proxy variables
need; they are in no repr, no log, no XCom and no pickle. Nothing of the server is imported, and `requests`, `httpx` and
`aiohttp` only by the module that is for them.

    for_requests.RunAuth          auth for `requests`
    for_httpx.RunAuth             auth for `httpx`, synchronous and asynchronous
    for_aiohttp.RunMiddleware     middleware for `aiohttp`
    hook.GateHttpHook             what the connection type `authz-http` makes of an unchanged `HttpOperator`
    deferrable.GateHttpOperator   for deferred calls, which a service account asserts
    connections.RunConnections    secrets backend, for what builds its hook itself
    plugin                        sets the proxy variables of a task

docs/tasks.md says what each covers.
"""
