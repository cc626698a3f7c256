"""Envoy's configuration for both planes, rendered from one small plan.

Law: everything that Envoy reads is built from the types of `envoy-data-plane`, always in one constructor call, so that
a misspelt field is an error here and not a surprise there. `plan` is what a caller fills in, and is cheap to import;
every other module here costs about 0.6 s (the Envoy types), so only the `envoy` command and tests import them, never
`serve`.
"""
