"""Names of tests that two processes agree on: `make coverage` needs them, for xdist compares what each collects."""

LONGEST_IN_A_NAME = 40


def pytest_make_parametrize_id(val, argname):
    """Long texts are often made of new keys: they differ from process to process, and say nothing in a name."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_IN_A_NAME else None
