"""``python -m clients.conformance``: run clients through the cases, print the table."""

import fnmatch
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from clients.conformance.cases import CASES, Case
from clients.conformance.programs import Unsupported
from clients.conformance.registry import ROOT, Client, read_registry
from clients.conformance.stage import Place, Stage
from clients.conformance.table import (
    CANNOT,
    FAILED,
    OK,
    Result,
    print_table,
    write_json,
)
from clients.conformance.vectors import run_vectors

_BUILD_LIMIT_S: Final = 600.0
_SIDES: Final = ("environment", "game")


@click.command()
@click.option("--client", "clients", multiple=True, help="A name, or a pattern.")
@click.option("--place", "places", multiple=True, help="mapped, tcp or ws.")
@click.option("--case", "patterns", multiple=True, help="A row, or a pattern.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    clients: tuple[str, ...],
    places: tuple[str, ...],
    patterns: tuple[str, ...],
    json_path: Path | None,
) -> None:
    """Run clients through the conformance cases; exit with 1 if any failed."""
    chosen = [c for c in read_registry() if _matches(c.name, clients)]
    if not chosen:
        raise click.UsageError(f"no client of clients.toml matches {clients}")
    results: list[Result] = []
    for client in chosen:
        for result in _run_client(client, places, patterns):
            results.append(result)
            _tell(result)
    if not results:
        raise click.UsageError("no case matches")
    print_table(results)
    if json_path is not None:
        write_json(results, json_path)
    sys.exit(any(result.outcome == FAILED for result in results))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, p) for p in patterns)


def _tell(result: Result) -> None:
    line = f"{result.client} {result.place}: {result.case}: {result.outcome}"
    click.echo(f"{line} ({result.seconds:.2f} s)", err=True)


def _run_client(
    client: Client, places: tuple[str, ...], patterns: tuple[str, ...]
) -> Iterator[Result]:
    """Yield every cell of a client: the vectors, then its sessions at each place."""
    why_not = client.missing() or _build(client)
    for index, kind in enumerate(client.places):
        if not _matches(kind, places):
            continue
        if _matches("vectors", patterns):
            yield from _vector_rows(client, kind, why_not, first=index == 0)
        rows = [
            (side, case, f"{side}: {case.name}")
            for side in _SIDES
            for case in CASES
            if _matches(f"{side}: {case.name}", patterns)
        ]
        if why_not or not rows:
            for _, _, row in rows:
                yield Result(client.name, kind, row, CANNOT, why_not)
            continue
        place = Place(client, kind)
        try:
            for number, (side, case, row) in enumerate(rows):
                yield _run_case(place, side, case, row, number)
        finally:
            place.close()


def _build(client: Client) -> str:
    """Build what the client needs; return why that cannot be."""
    if not client.build:
        return ""
    try:
        done = subprocess.run(
            client.build, cwd=ROOT, capture_output=True, text=True,
            timeout=_BUILD_LIMIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be built: {error}"
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-5:]
        return "cannot be built: " + " | ".join(lines)
    return ""


def _run_case(place: Place, side: str, case: Case, row: str, number: int) -> Result:
    client = place.client
    reason = client.lacks.get(side, "") or case.reason(side, place.kind)
    if reason:
        return Result(client.name, place.kind, row, CANNOT, reason)
    began = time.monotonic()
    outcome, reason = OK, ""
    try:
        with Stage(place, side, case.name, number) as stage:
            case.play(stage)
    except Unsupported as error:
        outcome, reason = CANNOT, str(error)
    except Exception as error:  # a case that breaks is a failure, not the end
        outcome, reason = FAILED, f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    return Result(client.name, place.kind, row, outcome, reason, seconds)


def _vector_rows(
    client: Client, kind: str, why_not: str, *, first: bool
) -> Iterator[Result]:
    """Yield one row for each file of vectors; they do not depend on the place."""
    row = "vectors"
    reason = why_not or client.lacks.get("vectors", "")
    if not first and not reason:
        reason = f"the same as at {client.places[0]}"
    if reason:
        yield Result(client.name, kind, row, CANNOT, reason)
        return
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="rlay-conformance-") as directory:
            verdicts = run_vectors(client, Path(directory))
    except Unsupported as error:
        yield Result(client.name, kind, row, CANNOT, str(error))
        return
    except AssertionError as error:
        yield Result(client.name, kind, row, FAILED, str(error))
        return
    seconds = time.monotonic() - began
    files: dict[str, dict[str, tuple[str, str]]] = {}
    for name, verdict in verdicts.items():
        files.setdefault(name.partition("/")[0], {})[name] = verdict
    for file, found in files.items():
        yield _vector_row(client, kind, file, found, seconds)


def _vector_row(
    client: Client,
    kind: str,
    file: str,
    found: dict[str, tuple[str, str]],
    seconds: float,
) -> Result:
    failed = [f"{name}: {why}" for name, (word, why) in found.items() if word == "fail"]
    cannot = [
        f"{name}: {why}" for name, (word, why) in found.items() if word == "unsupported"
    ]
    count = len(found) - len(failed) - len(cannot)
    row = f"vectors: {file}"
    summary = f"{count} of {len(found)} ok; "
    if failed:
        reason = summary + "; ".join(failed)
        return Result(client.name, kind, row, FAILED, reason, seconds)
    if cannot:
        reason = summary + "; ".join(cannot)
        return Result(client.name, kind, row, CANNOT, reason, seconds)
    return Result(client.name, kind, row, OK, "", seconds)


if __name__ == "__main__":
    main()
