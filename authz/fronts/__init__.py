"""Configurations of fronts other than Envoy, rendered from the settings: one file per front.

Law: a front asks the gate about the very target that it forwards, by the request line (docs/http-check.md), and
forwards nothing without an answer. Every value of the settings that goes into a configuration passes
`authz.fronts.values`, which refuses what could end a word there. Which headers cross is in `authz.core`, for all fronts
at once. No front imports another one. Deterministic, no I/O.

    plan       what all fronts need of the settings: one `Plan` for each of `fronts`
    values     which values may stand in a configuration
    crossing   which headers of a caller and of an answer go on
    nginx …    the text of one front's files; of the Worker, what its hand-written modules have in common with the rest
    render     the fronts by their names: `render("nginx", settings, folder)`
"""
