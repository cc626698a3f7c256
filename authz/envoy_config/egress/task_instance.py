"""Which task instance asks Airflow's execution API: the `sub` of its task token, for Envoy's access log alone.

Law: nothing is verified and nothing is refused here: Airflow checks the token, and tasks go on without the gate. The
token's claims are in metadata that no upstream, no answer and not the gate gets; the access log gets the id only.
Envoy's `jwt_authn` would have to fetch Airflow's keys to do so, and would hold up heartbeats while it does.
"""

from typing import Final

from envoy_data_plane.envoy.extensions.filters.http.header_to_metadata.v3 import (
    Config,
    ConfigKeyValuePair,
    ConfigRule,
    ConfigValueEncode,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.access_log import HEADER_TO_METADATA, TASK_CLAIMS_KEY, TASK_CLAIMS_SPACE

# The second part of a JWT, in every spelling of the header that Airflow accepts: FastAPI takes the scheme in any case
# and strips spaces of all kinds, and PyJWT takes padding, and before 2.15 any other bytes, in the signature. So that
# may be anything: of what Airflow does not accept, an entry says that it is claimed. `\C` is a byte, also one that is
# no UTF-8. Envoy decodes plain Base64: claims that have a `-` or `_` in the one for URLs (as of an issuer with a `~`)
# are not read, and the log names no instance.
_CLAIMS: Final = r"^(?i:bearer) \C*?\.([A-Za-z0-9_-]+)\.\C*$"


def task_instance_filter() -> HttpFilter:
    """Decodes the claims of the task token into metadata."""
    claims = ConfigKeyValuePair(
        metadata_namespace=TASK_CLAIMS_SPACE,
        key=TASK_CLAIMS_KEY,
        encode=ConfigValueEncode.BASE64,
        regex_value_rewrite=RegexMatchAndSubstitute(pattern=RegexMatcher(regex=_CLAIMS), substitution=r"\1"),
    )
    rule = ConfigRule(header="authorization", on_header_present=claims)
    return HttpFilter(name=HEADER_TO_METADATA, typed_config=Any.pack(Config(request_rules=[rule])))
