"""What `authz doctor` finds in documents: Envoy's configuration, other gateways', Airflow's options.

Law: parsed documents go in, findings come out. `kinds` has every finding once: its severity, why it matters and what
to do. `tree` reads documents of either spelling; what cannot be looked at is itself a finding (`not-seen`), so that
silence means that everything was read.
"""
