"""One line of log for each change of state, whatever a peer wrote into it."""

import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Final

FIELDS: Final = ("channel", "peer", "incarnation", "seq", "reason")
"""What a record may say beside its text: ``_log.info(..., extra={"peer": name})``."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@*+%,\[\]-]+")
_MOST_CHARACTERS: Final = 1000
"""Of one text: what a peer wrote is bounded, but may be said several times."""


def one_line(text: str) -> str:
    """Return a text with nothing in it that could end a line or steer a terminal."""
    if len(text) > _MOST_CHARACTERS:
        text = text[:_MOST_CHARACTERS] + "..."
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record says beside its text, in the order of :data:`FIELDS`."""
    facts: Mapping[str, Any] = record.__dict__
    return {name: facts[name] for name in FIELDS if facts.get(name) is not None}


def _time_text(created: float, *, fraction: bool) -> str:
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created))
    return f"{text}.{int(created % 1 * 1000):03d}Z" if fraction else f"{text}Z"


def _repeats(record: logging.LogRecord) -> tuple[int, float]:
    return getattr(record, "repeats", 0), getattr(record, "repeats_s", 0.0)


class TextLines(logging.Formatter):
    """Lines for people: time, level, text, and fields as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end; more lines only for a traceback."""
        text = one_line(record.getMessage())
        parts = [_time_text(record.created, fraction=False), record.levelname, text]
        parts += [
            f"{name}={_value(value)}"
            for name, value in fields_of(record).items()
            if str(value) not in text  # it is said once
        ]
        count, seconds = _repeats(record)
        if count:
            parts.append(f"(+{count} in {seconds:.0f} s)")
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            parts += ["\n" + "\n".join(map(one_line, trace.splitlines()))]
        return " ".join(parts)


def _value(value: Any) -> str:
    text = one_line(str(value))
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


class JsonLines(logging.Formatter):
    """Lines for programs: one JSON object each."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object, in ASCII, without an end of line."""
        found: dict[str, Any] = {
            "ts": _time_text(record.created, fraction=True),
            "level": record.levelname.lower(),
            "event": one_line(record.getMessage()),
            "logger": record.name,
        }
        for name, value in fields_of(record).items():
            plain = isinstance(value, int) and not isinstance(value, bool)
            found[name] = value if plain else one_line(str(value))
        count, seconds = _repeats(record)
        if count:
            found |= {"repeats": count, "repeats_s": round(seconds)}
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found)
