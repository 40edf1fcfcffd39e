"""What each target begins with: the golden vectors, and what was found once.

A file in ``tests/fuzz/corpus/TARGET/`` is an input that once made a fault, or that
leads to a place which the vectors do not reach. Its name says what it is.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Final

from tests.conformance import make_vectors
from tests.fuzz.targets import TARGETS

CORPUS: Final = Path(__file__).parent / "corpus"

_REQUEST: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: rlay.1\r\n\r\n"
)
# A binary message "abc", a ping, and a goodbye, each masked with zeros.
_SAID: Final = (
    b"\x82\x83\0\0\0\0abc" + b"\x89\x80\0\0\0\0" + b"\x88\x82\0\0\0\0\x03\xe8"
)
_MESSAGE_SPACES: Final = 10
_PAGE_BYTES: Final = 4096


@functools.cache
def _vectors(file: str) -> Any:
    return json.loads((make_vectors.DIRECTORY / file).read_text())


def _hex(file: str, *groups: str) -> list[bytes]:
    found = [vector for group in groups for vector in _vectors(file)[group]]
    return [bytes.fromhex(vector["hex"]) for vector in found]


def _messages() -> list[bytes]:
    """Return all messages, each for a few of the spaces that the target knows."""
    found = [*_vectors("decisions.json")["decisions"]]
    found += _vectors("reports.json")["reports"]
    contents = [bytes.fromhex(each["header"] + each["payload"]) for each in found]
    return [
        bytes([number % _MESSAGE_SPACES]) + content
        for number, content in enumerate(contents)
    ]


def _link_greetings() -> list[bytes]:
    found: list[bytes] = []
    for vector in _vectors("frames.json")["greetings"]:
        said = {kind: bytes.fromhex(vector[kind]) for kind in _LISTENED | _DIALED}
        for token in (0, 1):
            listened = b"".join(said[kind] for kind in sorted(_LISTENED))
            dialed = b"".join(said[kind] for kind in sorted(_DIALED))
            found += [bytes([token]) + listened, bytes([0x80 | token]) + dialed]
    return found


_LISTENED: Final = {"HELLO", "PROOF"}
_DIALED: Final = {"CHALLENGE", "WELCOME"}


def _controls() -> list[bytes]:
    """Return all bodies of frames, for each type of body."""
    bodies = [bytes.fromhex(each["body"]) for each in _vectors("frames.json")["frames"]]
    return [bytes([kind]) + body for kind in range(6) for body in bodies if body]


def golden(target: str) -> list[bytes]:
    """Return what the golden vectors give for a target."""
    match target:
        case "value":
            return _hex("values.json", "values", "in a RESET only", "refused")
        case "space":
            return _hex("spaces.json", "spaces")
        case "greeting":
            return _hex("greetings.json", "greetings")
        case "frames":
            found = _hex("frames.json", "frames", "refused")
            return [b"\x28" + each for each in found]
        case "control":
            return _controls()
        case "link_greeting":
            return _link_greetings()
        case "message":
            return _messages()
        case "header" | "slots":
            return _pages(target)
        case "websocket":
            return [_REQUEST + _SAID, _REQUEST, _SAID]
    raise AssertionError(f"no golden vectors for {target}")


def _pages(target: str) -> list[bytes]:
    """Return the beginnings of headers, or of files of slots."""
    file = {"header": "header", "slots": "slots.1"}[target]
    pages = []
    for vector in _vectors("slots.json")["slots"]:
        lines = vector["files"].get(file, {"lines": {}})["lines"]
        page = bytearray(_PAGE_BYTES)
        for offset, text in lines.items():
            data = bytes.fromhex(text)
            page[int(offset) : int(offset) + len(data)] = data
        if lines:
            pages.append(bytes(page[:_PAGE_BYTES]).rstrip(b"\0"))
    return sorted(set(pages))


def kept(target: str) -> list[bytes]:
    """Return what is in the corpus."""
    return [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]


def seeds(target: str) -> list[bytes]:
    """Return all."""
    return [*golden(target), *kept(target)]


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(TARGETS)
