"""Plan of the route from tasks to Airflow's execution API.

Law: as in `authz.settings.plan.front`, of which this is a part.
"""

from dataclasses import dataclass

from authz.core.addresses import same_place
from authz.settings.plan.peers import ClientTls, check_endpoints, check_listen


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The listener through which workers call Airflow's execution API, and that API's server.

    `idle` and `longest_stream` are those of `plan.Listener`.
    """

    listen: str
    addresses: tuple[str, ...]
    tls: ClientTls | None = None
    idle: float = 300
    longest_stream: float = 3600

    def __post_init__(self) -> None:
        check_listen(self.listen)
        check_endpoints(self.addresses, "the execution API")
        if self.idle <= 0 or self.longest_stream <= 0:
            raise ValueError(f"{self.listen!r}: idle and longest_stream must be more than 0")
        for address in self.addresses:
            if same_place(address, self.listen):
                raise ValueError(f"{address!r}: this is the execution listener itself, which would call itself")
