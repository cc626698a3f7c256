"""A record is evaluated by the policy without what had ended in the one that decided."""

from authz.core.documents.moments import parse_end
from authz.core.policy import as_of
from authz.core.traffic import evaluating
from authz.core.traffic.evaluating import Traffic
from tests.support.factories.policies import load

WRITTEN = load('{id: a, plane: inbound, roles: [viewer], operations: ["dags:read"], until: 2026-12-01}')
END = parse_end("2026-12-01")


def test_an_edition_is_made_once_and_few_are_kept(monkeypatch):
    monkeypatch.setattr(evaluating, "_MOST_EDITIONS", 1)
    traffic = Traffic(WRITTEN, lambda evaluated: evaluated)
    assert traffic._edition(END - 1) is WRITTEN
    after = traffic._edition(END)
    assert after.edition == as_of(WRITTEN, END).edition
    assert traffic._edition(END) is after
    assert not traffic._edition(END + 1).rules
    assert traffic._edition(END) is not after, "it was let go"
