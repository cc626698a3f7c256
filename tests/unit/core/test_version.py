import re

from authz.core.version import __version__


def test_the_version_is_three_numbers_and_perhaps_a_pre_release():
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", __version__)
