"""What changes while the gate serves: the policy file, the provider's keys. Live within a second, no request lost."""

import time

import pytest

from tests.e2e.gate import POLICY, SETTINGS, now
from tests.e2e.stack import KEY, Stack, Traffic, id_of
from tests.support.factories.tokens import make_key

pytestmark = pytest.mark.e2e

NEXT = make_key("ES256", kid="next")
LIVE_S = 1.0  # DESIGN §5: from the edit to the answer
PINNED = POLICY + "  - {{id: extra, plane: inbound, roles: [viewer], operations: [config:read]}}\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("changes")) as stack:
        yield stack


@pytest.fixture
def stack(running):
    """The policy and the keys are as at the start again."""
    running.reset()
    running.idp.behave()
    running.idp.keys = [KEY]
    by_rename(running.gate.policy, POLICY.format(issuer=running.idp.url))
    until_answer(running, "/api/v2/config", 403)
    running.gate.until(lambda: not running.gate.get("/readyz").json()["reasons"], "the gate is not well")
    return running


def by_rename(path, text):
    """As editors and `kubectl cp` do."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


def in_place(path, text):
    """As `echo >` does: the file is empty for a moment."""
    with path.open("w") as file:
        for line in text.splitlines(keepends=True):
            file.write(line)
            file.flush()


def by_symlink_swap(path, text):
    """As a mounted ConfigMap: the file is a link into `..data`, which is a link to a folder and is replaced."""
    version = path.parent / f"..version-{time.monotonic_ns()}"
    version.mkdir()
    (version / path.name).write_text(text)
    data, draft = path.parent / "..data", path.parent / "..data_tmp"
    draft.symlink_to(version.name)
    draft.replace(data)
    if not path.is_symlink():
        path.unlink()
        path.symlink_to(f"..data/{path.name}")


def ask(stack, target="/api/v2/config"):
    return stack.get(target, token=stack.token(jti="changes"))


def until_answer(stack, target, status):
    stack.gate.until(lambda: ask(stack, target).status == status, f"{target} does not become {status}")


# --- the policy


def live_after(stack, way):
    """The seconds from each of two edits, made while requests go on, to the first answer that follows it."""
    waits = []
    way(stack.gate.policy, POLICY.format(issuer=stack.idp.url) + "# begin\n")
    with Traffic(stack, "/api/v2/dags", token=stack.token()) as traffic:
        traffic.more(20, stack)
        for text, status in ((PINNED, 200), (POLICY, 403)):
            way(stack.gate.policy, text.format(issuer=stack.idp.url))
            edited = time.monotonic()
            until_answer(stack, "/api/v2/config", status)
            waits.append(time.monotonic() - edited)
        traffic.more(20, stack)
    assert list(traffic.statuses) == [200]
    return waits


WAYS = [by_rename, in_place, by_symlink_swap]


@pytest.mark.parametrize("way", WAYS)
def test_an_edit_becomes_live_and_costs_no_request(stack, way):
    assert live_after(stack, way)


@pytest.mark.alone
@pytest.mark.parametrize("way", WAYS)
def test_an_edit_is_live_within_a_second(stack, way):
    assert max(live_after(stack, way)) < LIVE_S


def test_an_edit_takes_rights_from_tokens_that_are_known(stack):
    token = stack.token()
    assert stack.get("/api/v2/dags", token=token).status == 200
    by_rename(stack.gate.policy, POLICY.format(issuer=stack.idp.url).replace("data-readers", "others"))
    stack.gate.until(lambda: stack.get("/api/v2/dags", token=stack.token(realm_access=None)).status == 403, "no edit")
    answer = stack.get("/api/v2/pools", token=token)
    assert answer.status == 200, "still an operator"
    assert stack.upstream.requests[-1].all("x-authz-roles") == ["op,viewer"]


def test_answers_name_the_revision_that_they_are_of(stack):
    before = stack.gate.decision(id_of(ask(stack)))["revision"]
    by_rename(stack.gate.policy, PINNED.format(issuer=stack.idp.url))
    until_answer(stack, "/api/v2/config", 200)
    after = stack.gate.decision(id_of(ask(stack)))["revision"]
    assert before != after == stack.gate.get("/readyz").json()["revision"]
    assert stack.gate.metric(f'authz_policy_info{{revision="{after[:12]}"}}') == 1
    for record in stack.gate.decisions:
        if record["path"] == "/api/v2/config" and record["revision"] in {before, after}:
            assert record["decision"] == ("allow" if record["revision"] == after else "deny")


def test_a_bad_edit_keeps_the_old_policy_and_everybody_can_see_it(stack):
    failed = 'authz_policy_reloads_total{result="failed"}'
    count = stack.gate.metric(failed)
    revision = stack.gate.get("/readyz").json()["revision"]
    bad = PINNED.replace("roles: [viewer]", "roles: [veiwer]").replace("plane: egress", "plain: egress")
    with Traffic(stack, "/api/v2/dags", token=stack.token()) as traffic:
        by_rename(stack.gate.policy, bad.format(issuer=stack.idp.url))
        stack.gate.until(lambda: stack.gate.get("/readyz").json()["reasons"], "the bad edit is not noticed")
        traffic.more(20, stack)
    assert list(traffic.statuses) == [200]
    assert ask(stack).status == 403
    page = stack.gate.get("/readyz")
    assert page.status_code == 200, "the old policy is as good as before"
    assert page.json()["revision"] == revision
    text = "\n".join(page.json()["reasons"])
    assert "veiwer" in text
    assert "plain" in text
    assert stack.gate.metric(failed) == count + 1
    assert "stays in force" in stack.gate.log.read_text()


def test_a_policy_file_that_vanishes_changes_nothing(stack):
    text = stack.gate.policy.read_text()
    stack.gate.policy.unlink()
    stack.gate.until(lambda: "cannot be read" in stack.gate.get("/readyz").text, "the loss is not noticed")
    assert ask(stack, "/api/v2/dags").status == 200
    stack.gate.policy.write_text(text)
    stack.gate.until(lambda: "cannot be read" not in stack.gate.get("/readyz").text, "the file is not found again")


# --- keys


def test_the_first_token_of_a_new_key_succeeds(stack):
    stack.idp.keys = [KEY, make_key("ES256", kid="fresh")]
    answer = stack.get("/api/v2/dags", token=stack.token(make_key("ES256", kid="fresh")))
    assert answer.status == 200
    assert len(stack.upstream.requests) == 1


def test_a_removed_key_stops_working_for_known_tokens_too(tmp_path):
    settings = SETTINGS.replace("refresh: 60s", "refresh: 1s")
    with Stack(tmp_path, settings=settings, keys=(KEY, NEXT)) as stack:
        known = stack.token()
        assert stack.get("/api/v2/dags", token=known).status == 200
        stack.idp.keys = [NEXT]
        stack.gate.until(lambda: stack.get("/api/v2/dags", token=known).status == 401, "the removed key still works")
        stack.upstream.reset()
        assert stack.get("/api/v2/dags", token=stack.token(jti="t-9")).status == 401
        assert stack.upstream.requests == []
        assert stack.get("/api/v2/dags", token=stack.token(NEXT)).status == 200
        stack.idp.stop()
        failed = 'authz_key_refreshes_total{issuer="corp",result="failed"}'
        stack.gate.until(lambda: stack.gate.metric(failed) >= 1, "the gate does not notice that the provider is down")
        # known and unknown tokens of a key that is here go on; with the provider down, another key id is a 503
        assert stack.get("/api/v2/dags", token=stack.token(NEXT)).status == 200
        assert stack.get("/api/v2/dags", token=stack.token(NEXT, jti="new")).status == 200
        assert stack.gate.get("/readyz").status_code == 200
        stack.upstream.reset()
        assert stack.get("/api/v2/dags", token=stack.token(KEY)).status == 503
        assert stack.upstream.requests == []


def test_without_keys_from_the_start_it_is_not_ready_and_denies_until_they_come(tmp_path):
    def away(handler):
        handler.send_error(503)

    waiting = Stack(tmp_path, ready=False)
    waiting.idp.misbehave(away, "/.well-known/openid-configuration")
    with waiting as stack:
        assert stack.gate.get("/readyz").status_code == 503
        assert stack.get("/api/v2/dags", token=stack.token()).status == 503
        assert stack.get("/api/v2/monitor/health").status == 503, "Envoy's health check keeps it out"
        assert stack.upstream.requests == []
        stack.idp.behave()
        stack.gate.until(lambda: stack.get("/api/v2/dags", token=stack.token()).status == 200, "the keys do not come")


def test_a_token_expires_while_it_is_in_use(stack):
    token = stack.token(iat=now() - 60, exp=now() - 27)  # the clock skew is 30 s
    assert stack.get("/api/v2/dags", token=token).status == 200
    stack.gate.until(lambda: stack.get("/api/v2/dags", token=token).status == 401, "it does not expire")
