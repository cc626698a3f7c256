"""What Envoy does with the calls of tasks: destinations, dynamic hosts, tunnels, and Airflow's execution API.

Law: a call goes to the destination that it was evaluated for, without the caller's address and its run-identity
headers, and no answer leads it elsewhere. A destination's credential is in that destination's cluster alone. Only calls
to the execution API are not evaluated, and they reach Airflow alone. Nothing here imports `inbound`.
"""
