"""Which run Airflow made: from a header of its answer into Envoy's access log.

Law: the header never reaches a caller, whichever answer has it.
"""

from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import (
    Config,
    ConfigKeyValuePair,
    ConfigRule,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any

from authz.core.edge import MADE_RUN
from authz.envoy_config.access_log import HEADER_TO_METADATA, MADE_RUN_KEY, MADE_RUN_SPACE


def made_run_filter() -> HttpFilter:
    """Moves the header out of the answer, into metadata."""
    kept = ConfigKeyValuePair(metadata_namespace=MADE_RUN_SPACE, key=MADE_RUN_KEY)
    rule = ConfigRule(header=MADE_RUN, on_header_present=kept, remove=True)
    return HttpFilter(name=HEADER_TO_METADATA, typed_config=Any.pack(Config(response_rules=[rule])))
