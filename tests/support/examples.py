"""How many examples a property test tries: the whole number in `make test-all`, a fifth of it in `make test`.

`AUTHZ_TEST_EXAMPLES` is the share. Each run draws its examples anew, so runs of `make test` add up.
"""

import os

from hypothesis import settings

SHARE = float(os.environ.get("AUTHZ_TEST_EXAMPLES", "0.2"))
_FEWEST = 10
_USUAL = 100  # hypothesis's own


def examples(number, **options):
    """The decorator for a test that tries `number` examples when all tests run, however long one takes."""
    return settings(max_examples=max(_FEWEST, round(number * SHARE)), deadline=None, **options)


def share_by_default():
    """The same for property tests that name no number."""
    settings.register_profile("share", max_examples=max(_FEWEST, round(_USUAL * SHARE)), deadline=None)
    settings.load_profile("share")
