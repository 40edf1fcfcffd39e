"""Fixtures of the environments' tests."""

import pytest

from tests.support.threads import client_env, server_env


@pytest.fixture(params=[client_env, server_env], ids=["ClientEnv", "ServerEnv"])
def remote(request, channel_directory):
    """Make a connected environment over a target: one way, then the other.

    ``with remote(target, ours={...}, **options) as env:``, see ``client_env`` in
    ``tests/support/threads.py``.
    """
    return request.param
