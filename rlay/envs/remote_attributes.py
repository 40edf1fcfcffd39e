"""Attributes and methods of a remote environment, as if they were local."""

from typing import Any, ClassVar

from rlay.protocol.decisions import Operation


class RemoteAttributes:
    """Looks up at the other end what it allows, and nothing else.

    The names are in the greeting, so ``hasattr`` is right without a round trip.
    """

    _own_names: ClassVar[frozenset[str]] = frozenset(
        {"name", "spec", "render_mode", "metadata", "np_random"}
    )

    def _ask_guarded(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        """Reach an attribute or a method that the backend allows.

        Raises:
            AttributeError: It is not in the backend's ``allow``.
        """
        facts = self.__dict__.get("_facts")
        if facts is None or name.startswith("_") or name not in facts.allow:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}; the environment at "
                "the other end may have it: serve it with allow=[...]"
            )
        if not facts.allow[name]:
            return self._ask_guarded(Operation.GET, name)

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._ask_guarded(Operation.CALL, name, args, kwargs)

        method.__name__ = name
        return method

    def __setattr__(self, name: str, value: Any) -> None:
        """Set one of RLay's own attributes, or one that the backend allows.

        Raises:
            AttributeError: It is neither.
        """
        if name.startswith("_") or name in self._own_names:
            super().__setattr__(name, value)
            return
        facts = self.__dict__.get("_facts")
        if facts is None or facts.allow.get(name, True):
            raise AttributeError(
                f"cannot set {name!r} of {type(self).__name__}: the environment at the "
                "other end does not allow it; serve it with allow=[...]"
            )
        self._ask_guarded(Operation.SET, name, (value,))
