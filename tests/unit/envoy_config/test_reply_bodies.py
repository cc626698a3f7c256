from authz.core.messages.page_frame import Branding
from authz.envoy_config import reply_bodies
from authz.envoy_config.inbound import login_pages


def test_a_page_escapes_what_it_shows():
    page = reply_bodies.Page("x", "<a>", 'b & "c"', "<d>")
    assert "&lt;a&gt;" in page.html()
    assert "<a>" not in page.html()
    assert "<d>" not in page.html()


def test_a_page_of_envoys_names_the_time_the_request_and_who_runs_the_gate():
    branding = Branding(organisation="100% data", contact="https://wiki.test/a%20b")
    made = reply_bodies.GATE_AWAY.format(branding)
    assert "<dt>Time</dt><dd><code>%START_TIME(%Y-%m-%d %H:%M:%S UTC)%</code></dd>" in made
    assert "<dt>Request</dt><dd><code>%REQ(X-REQUEST-ID)%</code></dd>" in made
    assert "Decision" not in made
    assert "100%% data" in made  # `%%` is a `%` to Envoy's formatter
    assert "https://wiki.test/a%%20b" in made
    assert "100% data" in login_pages.SIGNED_OUT.html(branding)
