import json

from authz.envoy_config.egress import failures
from authz.envoy_config.render import render
from tests.support.rendered_envoy import connection_manager, destination, egress, plan


def test_each_failure_has_a_word_of_its_own_and_says_whether_to_try_again():
    words = [failure.word for failure in failures.FAILURES]
    assert len(set(words)) == len(words)
    for failure in failures.FAILURES:
        told = json.dumps(failure.body().to_dict())
        assert failure.word in told
        assert failure.message in told
        names = {option.header.key: option.header.value for option in failure.headers()}
        assert names[failures.HEADER] == failure.word
        assert ("retry-after" in names) == (failure.status in {503, 504})


def test_only_the_egress_listener_sets_the_destination_error_header():
    config = render(plan(egress=egress(destination()), sds="/run/sds"))
    inbound, outbound = connection_manager(config), connection_manager(config, 1)
    assert "x-authz-destination-error" not in str(inbound["local_reply_config"])
    assert "x-authz-destination-error" in str(outbound["local_reply_config"])
    assert "x-authz-destination-error" in outbound["route_config"]["response_headers_to_remove"]
