"""Make the virtual environments of the packages that RLay is compared with.

One that is there already is kept; remove its directory to make it anew. A package that
cannot be installed is reported, and its reason stands in the tables of the benchmarks.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from measure import venvs


def main() -> None:
    """Install the chosen ones, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers",
        type=Path,
        default=venvs.DEFAULT_DIRECTORY,
        metavar="DIRECTORY",
        help="where to make them (%(default)s)",
    )
    parser.add_argument(
        "--only", metavar="REGEX", default="", help="only those whose names match"
    )
    options = parser.parse_args()
    for peer in venvs.PEERS.values():
        if not re.search(options.only, peer.name):
            continue
        try:
            venvs.make(options.peers, peer)
        except venvs.NotInstalled as error:
            print(f"{peer.name}: {error}", flush=True)
        else:
            print(f"{peer.name}: installed", flush=True)


if __name__ == "__main__":
    main()
