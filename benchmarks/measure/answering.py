"""A contender's end of the protocol: open once, then step whenever one is asked to.

A contender is a program that is started with one argument, what
:func:`measure.rounds.Run.spec` made as JSON, and calls :func:`answer`. It prints one
line of JSON once it has stepped for the first time: ``{"ready": true}``, or
``{"failed": "why"}`` and the end. From then on it sleeps until a line arrives on its
standard input, ``{"seconds": 0.5, "steps": 200000}``. To each it prints one line, what
:func:`measure.timing.summarize` returns. At the end of its standard input it closes.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import IO, Any

from measure import timing
from measure.opened import Opened
from measure.timing import Budget

# Enough that nothing is done for the first time in the first measured step.
_FIRST = Budget(seconds=0.5, steps=64)
_REASON_CHARACTERS = 160


def _own_output() -> IO[str]:
    """Return what was the standard output, for nobody else to write into.

    Packages print and log; all of that goes to the standard error from here on.
    """
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return kept


def one_line(error: BaseException) -> str:
    """Return the type and the message of an exception, short and without line ends."""
    words = " ".join(f"{type(error).__name__}: {error}".split())
    if len(words) <= _REASON_CHARACTERS:
        return words
    return words[: _REASON_CHARACTERS - 3] + "..."


def _say(output: IO[str], what: dict[str, Any]) -> None:
    output.write(json.dumps(what) + "\n")
    output.flush()


def _first_steps(opened: Opened, spec: dict[str, Any]) -> None:
    opened.reset(seed=0)
    timing.measure(opened, spec, _FIRST)
    opened.rest()


def _answer_all(
    opened: Opened, spec: dict[str, Any], questions: Iterable[str], output: IO[str]
) -> None:
    for question in questions:
        opened.wake()
        asked = json.loads(question)
        budget = Budget(asked["seconds"], asked["steps"])
        result = timing.measure(opened, spec, budget)
        opened.rest()
        _say(output, {**result, **opened.notes()})
    opened.wake()


def answer(open_contender: Callable[[dict[str, Any]], Opened]) -> int:
    """Run a contender until its standard input ends, and return its exit code.

    Args:
        open_contender: Opens what the spec describes.
    """
    output = _own_output()
    spec = json.loads(sys.argv[1])
    opened = None
    try:
        opened = open_contender(spec)
        _first_steps(opened, spec)
    except Exception as error:
        # It is listed with this reason, whatever went wrong in a foreign package.
        traceback.print_exc()
        _say(output, {"failed": one_line(error)})
        return 1
    _say(output, {"ready": True})
    _answer_all(opened, spec, sys.stdin, output)
    opened.close()
    return 0
