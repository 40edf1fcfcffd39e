"""Tests of clients run where they are asked for: they need compilers and time."""

import pytest


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave the tests out unless they are asked for: ``-m clients``."""
    if "clients" in config.option.markexpr:
        return
    out = [item for item in items if item.get_closest_marker("clients")]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
