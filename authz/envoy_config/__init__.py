"""Envoy's configuration for both planes, rendered from the settings as they are (`authz.settings`).

Law: everything that Envoy reads is built from the types of `envoy-data-plane`, always in one constructor call, so that
a misspelt field is an error here and not a surprise there. Importing these types costs about 0.6 s, so only the `envoy`
command and tests import this room, never `serve`. `inbound` and `egress` never import each other, and what both are
made of imports neither.
"""
