"""What a step costs when the environment is on another machine.

Both machines are this one: each has a directory of channels and a bridge, and between
the bridges is loopback. Every part has a raw blocking TCP ping-pong of the same bytes
in the same shuffled sweep, for that is what a bridge cannot be faster than. With
``--part`` one of:

latency     one step at a time, for four sizes of observation
throughput  one channel and 64 at once, also with 5 ms between the machines each way
frames      the byte rate of large frames
idle        what the bridges use while nothing happens on 256 channels
endurance   a million steps: does anything grow?
designs     the bridge as it is, and one with a blocking thread for each slot
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from typing import Any

from measure import report, strategy
from measure.bridges import BUILT, THREADS
from measure.environments import FRAME_BYTES
from measure.placement import ONE_CPU, UNPINNED
from measure.report import Report, Results, median, number, spread
from measure.rounds import Run, channel_directory, run_to_end, sweep

_QUICK = {"warmup_s": 0.02, "seconds": 0.05, "steps": 200, "settle_s": 0.1}
_FULL = {"warmup_s": 1.0, "seconds": 1.5, "steps": 200_000, "settle_s": 5.0}
_IDLE_S = 20.0

_PLACES = (UNPINNED, ONE_CPU)
_SIZES = {"trivial": 16, **FRAME_BYTES}
_BIG = "frame-1920x1080x3"

_MANY, _QUICK_MANY = 64, 3
_LATENCY_S = 0.005
_IDLE_CHANNELS, _QUICK_IDLE_CHANNELS = 256, 5
_STEPS = 1_000_000
_SAMPLES = 10
_ENDURANCE_TIMEOUT_S = 3600
_DESIGN_CHANNELS, _QUICK_DESIGN_CHANNELS = (1, 64, 256), (1, 3)
# Processes for 256 environments are slow to start where cores are few.
_SLOW_START = {"connect_timeout_s": 180.0}

_RAW = "raw TCP"
_BRIDGES = "RLay through two bridges"


def _sweep(runs: list[Run], options: argparse.Namespace) -> dict[Any, Results]:
    return sweep(
        report.chosen(runs, options.only),
        rounds=1 if options.quick else options.rounds,
        budget=_QUICK if options.quick else _FULL,
        quiet_cores=float("inf") if options.quick else options.quiet_cores,
        seed=options.seed,
    )


def _section(
    out: Report,
    title: str,
    headers: list[str],
    rows: list[list[str]],
    results: dict[Any, Results],
) -> None:
    if not results:  # --only has left none
        return
    remark = report.disturbance(results)
    out.section(title, headers, rows, remark, report.keyed(results))


def _times(one: Results, base: Results | None, key: str) -> str:
    return number(median(one, key) / median(base, key)) if base else ""


# --------------------------------------------------------------------------- latency


def _direct_runs(place: str, size: dict[str, Any]) -> list[Run]:
    """Return the row of direct attach, where this version of RLay has it."""
    if importlib.util.find_spec("rlay.transport.socket_client") is None:
        return []
    return [Run("RLay direct attach", "direct", place, size)]


def _latency_runs(environment: str, place: str) -> list[Run]:
    size = {"environment": environment, "reply_bytes": _SIZES[environment]}
    runs = [
        Run(_RAW, "raw-tcp", place, size),
        Run(_BRIDGES, "bridges", place, size),
        *_direct_runs(place, size),
    ]
    if environment == "trivial":
        asks = {**size, "paradigm": "client"}
        runs.append(Run(f"{_BRIDGES}, ServerEnv", "bridges", place, asks))
    return runs


def latency(out: Report, options: argparse.Namespace) -> None:
    """Measure single steps for each size and placement."""
    headers = ["", "p50 us", "p99 us", "steps/s", "times raw TCP", "bridges: CPU us"]
    for environment, size in _SIZES.items():
        for place in options.place:
            results = _sweep(_latency_runs(environment, place), options)
            base = results.get((_RAW, place))
            rows = [
                [
                    label,
                    spread(one, "p50_us"),
                    spread(one, "p99_us"),
                    number(median(one, "steps_per_s")),
                    _times(one, base, "p50_us"),
                    number(median(one, "bridges_cpu_us_per_step")),
                ]
                for (label, _), one in results.items()
            ]
            _section(out, f"{size:,} bytes, {place}", headers, rows, results)


# ------------------------------------------------------------------------ throughput


def _throughput_runs(place: str, latency_s: float, channels: int) -> list[Run]:
    between = {"latency_s": latency_s}
    many = {**between, "channels": channels, **_SLOW_START}
    batch = {**between, "num_envs": channels}
    # The raw rows say what the proxy between the machines can carry.
    return [
        Run(f"{_RAW}, 1 message", "raw-tcp", place, {**between, "reply_bytes": 192}),
        Run(
            f"{_RAW}, {channels} messages at once",
            "raw-tcp",
            place,
            {**many, "reply_bytes": 192},
        ),
        Run("RLay, 1 channel", "bridges", place, between),
        Run(f"RLay, {channels} channels at once", "bridges", place, many),
        Run(f"RLay, 1 channel of {channels} environments", "bridges", place, batch),
    ]


def throughput(out: Report, options: argparse.Namespace) -> None:
    """Measure many channels over one pair of bridges, near and far."""
    channels = _QUICK_MANY if options.quick else _MANY
    headers = ["", "steps/s", "times 1 channel", "p50 us", "p99 us", "bridges: CPU us"]
    for latency_s in (0.0, _LATENCY_S):
        for place in options.place:
            results = _sweep(_throughput_runs(place, latency_s, channels), options)
            rows = []
            for (label, _), one in results.items():
                kind = _RAW + ", 1 message" if label.startswith(_RAW) else None
                base = results.get((kind or "RLay, 1 channel", place))
                rows.append(
                    [
                        label,
                        spread(one, "steps_per_s"),
                        _times(one, base, "steps_per_s"),
                        spread(one, "p50_us"),
                        number(median(one, "p99_us")),
                        number(median(one, "bridges_cpu_us_per_step")),
                    ]
                )
            words = f"{latency_s * 1000:g} ms each way" if latency_s else "loopback"
            title = f"Many channels, {words}, {place}"
            _section(out, title, headers, rows, results)


# ---------------------------------------------------------------------------- frames


def frames(out: Report, options: argparse.Namespace) -> None:
    """Measure the byte rate of frames of 1920x1080x3."""
    size = {"environment": _BIG, "reply_bytes": _SIZES[_BIG]}
    headers = ["", "MB/s", "of raw ping-pong", "of raw stream", "frames/s"]
    ping, stream = f"{_RAW}, ping-pong", f"{_RAW}, stream without requests"
    for place in options.place:
        runs = [
            Run(ping, "raw-tcp", place, size),
            Run(stream, "raw-tcp", place, {**size, "stream": True}),
            Run(_BRIDGES, "bridges", place, size),
            Run(f"{_BRIDGES}, copy=False", "bridges", place, {**size, "copy": False}),
            Run(
                f"{_BRIDGES}, 4 channels at once",
                "bridges",
                place,
                {**size, "channels": 4},
            ),
            *_direct_runs(place, size),
        ]
        results = _sweep(runs, options)
        rows = [
            [
                label,
                number(median(one, "steps_per_s") * _SIZES[_BIG] / 1e6),
                _times(one, results.get((ping, place)), "steps_per_s"),
                _times(one, results.get((stream, place)), "steps_per_s"),
                spread(one, "steps_per_s"),
            ]
            for (label, _), one in results.items()
        ]
        _section(out, f"Frames of 1920x1080x3, {place}", headers, rows, results)


# ------------------------------------------------------------------------------ idle


def idle(out: Report, options: argparse.Namespace) -> None:
    """Measure what the bridges use while nothing happens on many channels."""
    channels = _QUICK_IDLE_CHANNELS if options.quick else _IDLE_CHANNELS
    some = {"channels": channels}
    if not options.quick:
        some["seconds"] = _IDLE_S  # type: ignore[assignment]
    runs = [
        Run("no channels", "idle-channels", UNPINNED, {**some, "channels": 0}),
        Run(f"{channels} channels", "idle-channels", UNPINNED, some),
        Run(
            f"{channels} channels, a client on each",
            "idle-channels",
            UNPINNED,
            {**some, "sessions": True},
        ),
    ]
    results = _sweep(runs, options)
    headers = ["", "algorithm's bridge", "environment's bridge"]
    rows = [
        [
            label,
            *(f"{median(one, key):.2%}" for key in ("near bridge", "far bridge")),
        ]
        for (label, _), one in results.items()
    ]
    _section(out, "Idle bridges, share of a core", headers, rows, results)


# ------------------------------------------------------------------------- endurance

_ENDS = ("algorithm", "environment", "near bridge", "far bridge")


def _endure(run: Run, every: int) -> dict[str, Any]:
    with channel_directory() as directory:
        spec = run.spec({"samples": _SAMPLES, "every": every})
        spec = {**spec, "directory": directory, "waiting": strategy.DEFAULT}
        words = [sys.executable, "-m", "measure.endurance", json.dumps(spec)]
        return run_to_end(words, run.label, _ENDURANCE_TIMEOUT_S)


def _slope(samples: list[dict[str, Any]], end: str) -> float:
    """Return the growth of private memory in KiB per million steps."""
    later = samples[1:]
    steps = [sample["steps"] for sample in later]
    memory = [sample[end]["private_kib"] for sample in later]
    return statistics.linear_regression(steps, memory).slope * 1e6


def endurance(out: Report, options: argparse.Namespace) -> None:
    """Look at all four processes at each tenth of many steps."""
    steps = 2000 if options.quick else options.steps
    runs = [
        Run(f"{_BRIDGES}, {name}", "bridges", UNPINNED, {"paradigm": paradigm})
        for name, paradigm in (("ClientEnv", "server"), ("ServerEnv", "client"))
    ]
    headers = ["steps"]
    for end in _ENDS:
        headers += [f"{end}: private KiB", f"{end}: descriptors"]
        headers += [f"{end}: tasks"] if "bridge" in end else []
    headers.append("files")
    for run in report.chosen(runs, options.only):
        result = _endure(run, max(1, steps // _SAMPLES))
        rows = [_endurance_row(sample) for sample in result["samples"]]
        slopes = [f"{_slope(result['samples'], end):+.0f} KiB ({end})" for end in _ENDS]
        remark = (
            f"Growth of private memory per million steps: {', '.join(slopes)}. "
            f"Files left after close: {result['files_after_close']}."
        )
        out.section(f"{run.label}, {steps:,} steps", headers, rows, remark, result)


def _endurance_row(sample: dict[str, Any]) -> list[str]:
    row = [f"{sample['steps']:,}"]
    for end in _ENDS:
        held = sample[end]
        row += [f"{held['private_kib']:,}", str(held["descriptors"])]
        row += [str(held["tasks"])] if "tasks" in held else []
    return [*row, str(sample["files"])]


# --------------------------------------------------------------------------- designs

_DESIGNS = {BUILT: "on the loop, through a FIFO", THREADS: "a thread for each slot"}


def designs(out: Report, options: argparse.Namespace) -> None:
    """Compare the bridge as it is with one of blocking threads."""
    headers = ["", "steps/s", "p50 us", "p99 us", "bridges: CPU us"]
    for channels in _QUICK_DESIGN_CHANNELS if options.quick else _DESIGN_CHANNELS:
        for place in options.place:
            some = {"channels": channels, **_SLOW_START}
            runs = [
                Run(words, "bridges", place, {**some, "bridge": program})
                for program, words in _DESIGNS.items()
            ]
            results = _sweep(runs, options)
            rows = [
                [
                    label,
                    spread(one, "steps_per_s"),
                    spread(one, "p50_us"),
                    number(median(one, "p99_us")),
                    number(median(one, "bridges_cpu_us_per_step")),
                ]
                for (label, _), one in results.items()
            ]
            title = f"How payload moves, channels: {channels}, {place}"
            _section(out, title, headers, rows, results)


_PARTS = {
    "latency": latency,
    "throughput": throughput,
    "frames": frames,
    "idle": idle,
    "endurance": endurance,
    "designs": designs,
}


def main() -> None:
    """Run the chosen parts and print their tables."""
    parser = report.parser("Steps of an environment on another machine.", rounds=5)
    parser.add_argument("--part", choices=_PARTS, action="append", help="only this")
    parser.add_argument(
        "--place", choices=_PLACES, action="append", help="only this placement"
    )
    parser.add_argument(
        "--steps", type=int, default=_STEPS, help="of the part endurance"
    )
    options = parser.parse_args()
    options.place = options.place or list(_PLACES)
    out = Report("bench_remote", options)
    for name in options.part or _PARTS:
        _PARTS[name](out, options)
    out.save()


if __name__ == "__main__":
    main()
