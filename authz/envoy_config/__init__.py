"""Envoy's configuration for both planes, rendered from the settings as they are (`authz.settings`).

Law: everything that Envoy reads is built from the types of `envoy-data-plane`, always in one constructor call, so that
a misspelt field is an error here and not a surprise there. Importing these types costs about 0.6 s, so only the `envoy`
command and tests import this room, never `serve`. `inbound` and `egress` never import each other, and the parts that
they share import neither.

What each key of the settings becomes in Envoy, in the order of the calls. A key with a leading dot is below `envoy`:

    .inbound.login.issuer                                 provider.complete                    endpoints of the provider
    .admin, .max_heap, .max_connections                   bootstrap.bootstrap                  admin port, overload
    .inbound.listen                                       listeners.inbound_listener           a listener
    .inbound.trusted_hops                                 http_connection_manager.inbound      the client's address
    .inbound.idle_timeout, .inbound.longest_stream        http_connection_manager.inbound      time limits
    .inbound.login                                        inbound.login.oauth2_filter          the filter that logs in
    .authz_timeout                                        ext_authz.ext_authz_filter           the filter that asks us
    .inbound.upstreams                                    inbound.routes.route_configuration   routes by Host
    .inbound.login                                        inbound.login_routes.login_routes    routes of the login
    limits.token_bytes                                    header_room.header_room              limit on headers
    pages                                                 local_replies.local_replies          Envoy's own answers
    .access_log                                           access_log.access_logs               access logs
    tracing                                               tracing.tracer                       tracer of the listener
    .inbound.tls                                          tls.listener_socket                  TLS of the listener
    .egress.listen                                        listeners.egress_listener            a listener
    .egress.idle_timeout, .egress.longest_stream          http_connection_manager.outbound     time limits
    .egress.dynamic                                       egress.dynamic.dynamic_filters       SSRF guard
    .egress.destinations                                  egress.routes.egress_routes          routes by Host and path
    .egress.destinations[].listen                         listeners.base_url_listener          a listener
    .egress.destinations[].tunnel                         egress.tunnels.tunnel_listeners      listeners inside Envoy
    .execution.listen                                     listeners.execution_listener         a listener
    .execution.idle_timeout, .execution.longest_stream    http_connection_manager.for_tasks    time limits
    listen, workers, tls, .authz_tls_ca, .authz_tls_name  clusters.authz_cluster               the gate's cluster
    .inbound.login, revocation.backchannel                inbound.clusters.login_clusters      clusters
    .inbound.upstreams                                    inbound.clusters.upstream_cluster    clusters
    .egress.destinations                                  egress.clusters.destination_cluster  clusters
    .egress.destinations[].credential                     egress.credentials.injector          filter of the cluster
    .egress.destinations[].limits                         egress.limits.breakers               circuit breakers
    .egress.dynamic                                       egress.dynamic.dynamic_clusters      clusters
    .execution                                            egress.clusters.execution_cluster    a cluster
    tracing                                               tracing.collector_cluster            a cluster
    .inbound.login.split_cookies                          newer_fields.add_newer_fields        a field of Envoy 1.40
    .sds, .authz_tls_certificate, .authz_tls_key          secrets.sds_files                    files that name secrets
"""
