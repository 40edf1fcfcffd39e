"""What ``listen=`` adds to each class: a bridge of its own, and where it listens."""

from rlay.processes.own_bridge import OwnBridge


class Listening:
    """Has a bridge of its own, where it was given ``listen=``."""

    _bridge: OwnBridge

    @property
    def listening(self) -> tuple[str, ...]:
        """Where the bridge of ``listen=`` accepts peers: HOST:PORT, with real ports.

        Several for a host with several addresses, as ``localhost`` may be. Empty
        without ``listen=``, before a backend is opened, and after ``close()``.
        """
        return self._bridge.listening
