"""What the gate's settings and policy say about the place that doctor looks at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`airflow`: addresses (`host:port`) of the upstreams. `longest`: how long a token may live, in seconds.

    `public_url` is the login's, `base_paths` are those of the upstreams; without settings all of it is empty.
    """

    airflow: tuple[str, ...] = ()
    public_url: str = ""
    base_paths: tuple[str, ...] = ()
    longest: int = 0
