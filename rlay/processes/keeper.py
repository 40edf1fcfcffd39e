"""Keeps one program: passes on its output, and ends it when its owner is gone.

This file runs as a program of its own, between an owner and what the owner started::

    owner  --- lifeline --->  keeper  --- own process group --->  program
           <--- report -----          <--- output -------------

The owner holds the writing end of the lifeline and never writes. Its end of file says
that the owner let go or died, in whatever way; the keeper then ends the program's
whole process group: SIGTERM, a while to finish, SIGKILL. So the owner needs no
thread, the program needs to know nothing, and a program that is stuck in C code
ends too.

What the program started ends with it. On Linux that includes what left the group, as
daemons do: the keeper adopts what lost its parent, so that everything the program ever
started stays below the keeper, where ``/proc`` shows it.

``PR_SET_PDEATHSIG`` alone would not do: it fires when the *thread* that started the
program ends, and it gives the program no time. Here it only covers the keeper's own
death, and the keeper has one thread.

It imports nothing but the standard library, because it is started by its path.
"""

import collections
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO, Final

TAIL_LINES: Final = 40
"""How many of the program's last lines are remembered, for error messages."""
TAIL_LINE_CHARACTERS: Final = 400
_READ_BYTES: Final = 65_536
_WRITE_BYTES: Final = 4096
"""A pipe that is ready takes this much without blocking (PIPE_BUF)."""
_GROUP_GRACE_S: Final = 1.0
"""How long what the program left running in its group may take to end."""
_TREE_GRACE_S: Final = 4.0
"""As long may take what left the group: another keeper, or a bridge that drains."""
_GIVE_UP_S: Final = 4.5
"""What does not even end by SIGKILL then, or runs under another user, is left alone."""
_MOST_LEFT: Final = 5
_LOG_BYTES: Final = 64 * 1024 * 1024
"""A log file that has grown so large makes room for a new one."""
_STEP_S: Final = 0.02
_LAST_READS: Final = 64


class Tail:
    """The last lines of a stream of bytes."""

    def __init__(self) -> None:
        """Start empty."""
        self._lines: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._partial = b""

    def add(self, data: bytes) -> list[bytes]:
        """Take more of the stream; return the lines that it completed."""
        *whole, rest = (self._partial + data).split(b"\n")
        if len(rest) > _READ_BYTES:  # no line: never let it grow without limit
            whole, rest = [*whole, rest], b""
        self._partial = rest
        for line in whole:
            self._remember(line)
        return whole

    def finish(self) -> list[bytes]:
        """Return the last line, if the stream ended in the middle of it."""
        partial, self._partial = self._partial, b""
        if partial:
            self._remember(partial)
        return [partial] if partial else []

    def _remember(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            text = "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
            self._lines.append(text[:TAIL_LINE_CHARACTERS])

    @property
    def lines(self) -> list[str]:
        """The last lines that are not empty."""
        return list(self._lines)


class Echo:
    """Passes output on to this process's stderr, never waiting for its reader.

    The keeper must not wait there: the reader may never read, and the lifeline must
    be seen all the same.
    """

    def __init__(self, prefix: str | None) -> None:
        """Pass on whole lines with ``prefix`` in front.

        An empty one passes on every byte at once; None passes nothing on.
        """
        self._prefix = None if prefix is None else prefix.encode()
        self._pending = b""

    @property
    def pending(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._pending)

    def add(self, data: bytes, lines: Sequence[bytes]) -> None:
        """Pass on ``data``, or the lines that it completed."""
        if self._prefix:
            data = b"".join(self._prefix + line + b"\n" for line in lines)
        if self._prefix is not None:
            self._pending += data

    def write(self) -> None:
        """Write some of what is pending; to be called when stderr is ready."""
        try:
            written = os.write(2, self._pending[:_WRITE_BYTES])
        except BlockingIOError:
            return
        except OSError:  # nobody will read it any more
            self._prefix, self._pending = None, b""
            return
        self._pending = self._pending[written:]

    def drain(self, seconds: float) -> None:
        """Write what is pending, for so long at most."""
        until = time.monotonic() + seconds
        while self._pending and time.monotonic() < until:
            if select.select([], [2], [], _STEP_S)[1]:
                self.write()


class LogFile:
    """Keeps everything that a program writes; of two files the older one goes first."""

    def __init__(self, path: str) -> None:
        """Append to ``path``; an empty one keeps nothing.

        Raises:
            OSError: It cannot be opened.
        """
        self._path = path
        self._file = self._opened()

    def _opened(self) -> BinaryIO | None:
        return open(self._path, "ab", buffering=0) if self._path else None

    def add(self, data: bytes) -> None:
        """Write; a disk that is full, or gone, does not disturb the program."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if self._file.tell() + len(data) > _LOG_BYTES:
                self._file.close()
                os.replace(self._path, f"{self._path}.1")
                self._file = self._opened()
            if self._file is not None:
                self._file.write(data)

    def close(self) -> None:
        """Close the file. Twice is harmless."""
        if self._file is not None:
            self._file.close()


class Keeper:
    """Runs one program to its end."""

    def __init__(
        self,
        lifeline: int,
        report: int,
        grace_s: float,
        prefix: str | None,
        log: LogFile,
    ) -> None:
        """Take over two descriptors.

        Args:
            lifeline: Its end of file ends the program.
            report: Where lines of JSON go: that the program was started, and how it
                ended.
            grace_s: How long the program may take to end when it is told to.
            prefix: For each line that is passed on; None passes nothing on.
            log: Where all of its output is kept.
        """
        self._log = log
        self._lifeline = lifeline
        self._report = report
        self._grace_s = grace_s
        self._tail = Tail()
        self._echo = Echo(prefix)
        self._told = False
        self._kill_at: float | None = None
        self._output = -1
        self._wakeup = _wakeup_on_signals()

    def run(self, command: Sequence[str]) -> int:
        """Start ``command``, stay until it has ended, and return its exit code."""
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                process_group=0,
                preexec_fn=_dies_with_its_parent(),  # one thread: a fork is safe here
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._say(failed=str(error))
            return 1
        finally:
            os.close(writing)
        self._output = reading
        os.set_blocking(reading, False)
        self._say(pid=process.pid)
        self._stay(process)
        self._finish_output()
        code = process.returncode
        left = [_name_of(pid) for pid in _tree()[:_MOST_LEFT]]
        self._say(code=code, told=self._told, lines=self._tail.lines, left=left)
        self._end_leftovers(process.pid)
        self._echo.drain(_GROUP_GRACE_S)
        return code if code >= 0 else 128 - code

    def _stay(self, process: "subprocess.Popen[bytes]") -> None:
        group = process.pid
        while process.poll() is None:
            for fd in self._wait():
                if fd == self._wakeup:
                    if signal.SIGTERM in os.read(fd, 512):
                        self._tell(group)
                    _reap_adopted(spare=group)
                elif fd == self._lifeline:
                    self._lifeline = -1
                    self._tell(group)
                elif fd == self._output:
                    self._read_output()
                else:
                    self._echo.write()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill_at = None
                _signal_group(group, signal.SIGKILL)

    def _wait(self) -> list[int]:
        """Return the descriptors at which something happened."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        if self._lifeline >= 0:
            poll.register(self._lifeline, select.POLLIN)
        if self._echo.pending:  # until it is out, nothing more is read
            poll.register(2, select.POLLOUT)
        elif self._output >= 0:
            poll.register(self._output, select.POLLIN)
        patience_ms = None
        if self._kill_at is not None:
            patience_ms = max(0.0, self._kill_at - time.monotonic()) * 1000 + 1
        return [fd for fd, _ in poll.poll(patience_ms)]

    def _tell(self, group: int) -> None:
        """Ask the program to end; twice is harmless."""
        if not self._told:
            self._told = True
            self._kill_at = time.monotonic() + self._grace_s
            _signal_group(group, signal.SIGTERM)

    def _read_output(self) -> bool:
        """Take what the program wrote; return whether there was anything."""
        try:
            data = os.read(self._output, _READ_BYTES)
        except BlockingIOError:
            return False
        self._log.add(data)
        self._echo.add(data, self._tail.add(data))
        if not data:
            self._output = -1  # it stays open: the keeper ends soon
        return bool(data)

    def _finish_output(self) -> None:
        # What the program started may still hold the pipe, and write for ever.
        for _ in range(_LAST_READS):
            if self._output < 0 or not self._read_output():
                break
        self._echo.add(b"", self._tail.finish())

    def _end_leftovers(self, group: int) -> None:
        """End what the program started and left running."""
        began = time.monotonic()
        _signal_group(group, signal.SIGTERM)
        for pid in _tree():
            _signal(pid, signal.SIGTERM)
        while True:
            _reap_adopted()
            grouped, below = _signal_group(group, 0), _tree()
            if not grouped and not below:
                return
            passed = time.monotonic() - began
            if grouped and passed >= _GROUP_GRACE_S:
                _signal_group(group, signal.SIGKILL)
            if passed >= _TREE_GRACE_S:
                for pid in below:
                    _signal(pid, signal.SIGKILL)
            if passed >= _GIVE_UP_S:
                return
            time.sleep(_STEP_S)

    def _say(self, **facts: object) -> None:
        # Fits a pipe's buffer; the owner may be gone.
        with contextlib.suppress(OSError):
            os.write(self._report, json.dumps(facts).encode() + b"\n")


def _signal_group(group: int, number: int) -> bool:
    """Signal a process group; return whether there is one."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs under another user by now
        return True
    return True


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _adopt_orphans() -> None:
    """Become the parent of every process below this one that loses its own."""
    if sys.platform == "linux":
        import ctypes

        set_child_subreaper = 36
        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _reap_adopted(spare: int = 0) -> None:
    """Wait for children that have ended, but leave ``spare`` to who started it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            ended = os.waitid(os.P_ALL, 0, look)
            if ended is None or ended.si_pid == spare:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def _tree() -> list[int]:
    """Return the processes below this one that have not ended; empty without /proc."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if entry.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{entry}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state != b"Z":
                    children.setdefault(int(parent), []).append(int(entry))
    found, new = [], [os.getpid()]
    while new:
        new = [child for pid in new for child in children.get(pid, ())]
        found += new
    return found


def _name_of(pid: int) -> str:
    name = "?"
    path = f"/proc/{pid}/comm"
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        name = "".join(c for c in file.read() if c.isprintable())
    return f"{name} (process {pid})"


def _wakeup_on_signals() -> int:
    """Return a descriptor that becomes readable with each signal that matters."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    # Handlers, not SIG_IGN: what is ignored would be ignored by the program too.
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _dies_with_its_parent() -> Callable[[], None] | None:
    """Return what a child calls before it becomes the program, where there is any."""
    if sys.platform != "linux":
        return None
    import ctypes

    keeper, prctl = os.getpid(), ctypes.CDLL(None).prctl
    set_death_signal = 1

    def tie() -> None:
        prctl(set_death_signal, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != keeper:  # it died before that
            os._exit(1)

    return tie


def main(arguments: Sequence[str]) -> int:
    """Run as a program; see ``ChildProcess.start`` for the arguments."""
    lifeline, report, grace_s, prefix, log, *command = arguments
    for fd in (int(lifeline), int(report)):
        os.set_inheritable(fd, False)
    try:
        file = LogFile(log)
    except OSError as error:
        facts = {"failed": f"its log file cannot be written: {error}"}
        os.write(int(report), json.dumps(facts).encode() + b"\n")
        return 1
    _adopt_orphans()
    keeper = Keeper(
        int(lifeline),
        int(report),
        float(grace_s),
        prefix.removeprefix("+") if prefix.startswith("+") else None,
        file,
    )
    return keeper.run(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
