"""Run a benchmark script with tiny counts and read what it found."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TIMEOUT_S = 240


def run_script(name, tmp_path, *options):
    """Run one script with tiny counts and return what its JSON file holds."""
    output = tmp_path / "result.json"
    # No waiting for a quiet machine: the figures are not judged here.
    command = [sys.executable, str(BENCHMARKS / name), "--quick", "--quiet-cores", "99"]
    command += ["--json", str(output)]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    for section in result["sections"]:
        for row in section["rows"]:
            assert "| " + " | ".join(row) + " |" in done.stdout
    return result


def row_names(result):
    """Return the set of first cells of each section, by its title."""
    return {
        section["title"]: {row[0] for row in section["rows"]}
        for section in result["sections"]
    }
