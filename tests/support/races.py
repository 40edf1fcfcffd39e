"""Many processes that try the same thing at the same moment."""

import os
from collections.abc import Callable


def race(attempt: Callable[[], bool], runners: int = 100) -> int:
    """Fork runners that call ``attempt`` at once; return how many it was true for.

    Each keeps what it got until all have tried, then ends without clean-up. An
    exception in one fails the race.
    """
    start, stop, results = os.pipe(), os.pipe(), os.pipe()
    pids = []
    for _ in range(runners):
        pid = os.fork()
        if not pid:
            _run(attempt, start, stop, results)
        pids.append(pid)
    os.close(start[1])
    answers = b""
    while len(answers) < runners:
        answers += os.read(results[0], runners)
    os.close(stop[1])
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    for number in (start[0], stop[0], *results):
        os.close(number)
    assert codes == [0] * runners, f"{runners - codes.count(0)} runners failed"
    return answers.count(b"1")


def _run(
    attempt: Callable[[], bool],
    start: tuple[int, int],
    stop: tuple[int, int],
    results: tuple[int, int],
) -> None:
    answer, code = b"0", 1
    try:
        os.close(start[1])
        os.close(stop[1])
        os.read(start[0], 1)  # returns for all at once, when the parent closes it
        answer = b"1" if attempt() else b"0"
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os.write(results[1], answer)
        os.read(stop[0], 1)
        os._exit(code)
