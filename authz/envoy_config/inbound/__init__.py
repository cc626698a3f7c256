"""What Envoy does in front of Airflow: routes by Host, the browser login with its pages, the upstreams' clusters.

Law: every request passes the authorizer before it reaches Airflow. A login finds a credential and decides nothing.
Airflow's task API is never reachable here. Nothing here imports `egress`. The listener's HTTP filters are listed in
`http_connection_manager`, for both planes.
"""
