"""RLay's ids in Gymnasium's registry."""

from typing import Any

import gymnasium

CLIENT_ENV_ID = "rlay/ClientEnv-v0"
SERVER_ENV_ID = "rlay/ServerEnv-v0"


def register_environments() -> None:
    """Register both ids. Twice is harmless.

    The entry points are functions: Gymnasium looks for ``metadata`` at a class,
    where RLay's depends on the other end.
    """
    if CLIENT_ENV_ID in gymnasium.registry:
        return
    here = "rlay.envs.registration"
    gymnasium.register(
        CLIENT_ENV_ID,
        entry_point=f"{here}:make_client_env",
        vector_entry_point=f"{here}:make_client_vector_env",
    )
    # Whoever makes this one starts the game afterwards: nothing may wait for it yet.
    gymnasium.register(
        SERVER_ENV_ID,
        entry_point=f"{here}:make_server_env",
        vector_entry_point=f"{here}:make_server_vector_env",
        disable_env_checker=True,
    )


def make_client_env(**kwargs: Any) -> Any:
    """Make a ``ClientEnv``."""
    from rlay.envs.client_env import ClientEnv

    return ClientEnv(**kwargs)


def make_client_vector_env(**kwargs: Any) -> Any:
    """Make a ``ClientVectorEnv``."""
    from rlay.envs.client_vector_env import ClientVectorEnv

    return ClientVectorEnv(**kwargs)


def make_server_env(**kwargs: Any) -> Any:
    """Make a ``ServerEnv``."""
    from rlay.envs.server_env import ServerEnv

    return ServerEnv(**kwargs)


def make_server_vector_env(**kwargs: Any) -> Any:
    """Make a ``ServerVectorEnv``."""
    from rlay.envs.server_vector_env import ServerVectorEnv

    return ServerVectorEnv(**kwargs)
