"""Write ``rlay.hpp``, the single header, from the parts in ``src/``.

``python clients/cpp/amalgamate.py`` writes it; ``--check`` only says whether it is what
the parts give.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SINGLE = HERE / "rlay.hpp"
# The plugin is installed by copying its folder, so it has the header in it.
PLUGIN = HERE.parent / "unreal" / "RLay" / "Source" / "ThirdParty" / "RLay" / "rlay.hpp"
_INCLUDE = re.compile(r'#include "([a-z_]+\.hpp)"\n')
_HEAD = """\
// The single header of RLay for C++17, made from src/ by amalgamate.py: change those.
//
// SPDX-License-Identifier: MIT

"""


def amalgamated() -> str:
    """Return the text of the single header."""
    done: set[str] = set()

    def part(name: str) -> str:
        if name in done:
            return ""
        done.add(name)
        text = (HERE / "src" / name).read_text()
        comment, _, body = text.partition("#pragma once\n")
        body = _INCLUDE.sub(lambda found: part(found.group(1)), body)
        line = "//" + f" {name} ".center(86, "-")
        return f"{line}\n{comment}{body.lstrip()}\n"

    head = (HERE / "src" / "rlay.hpp").read_text().partition("#pragma once\n")[0]
    body = part("rlay.hpp").partition(head)[2]
    return f"{_HEAD}{head}#pragma once\n\n" + re.sub(r"\n{3,}", "\n\n", body)


def main(arguments: list[str]) -> int:
    """Write the header, or compare it with what is there."""
    text = amalgamated()
    if "--check" not in arguments:
        for path in (SINGLE, PLUGIN):
            path.write_text(text)
        return 0
    if all(path.read_text() == text for path in (SINGLE, PLUGIN)):
        return 0
    sys.stderr.write("rlay.hpp is not what src/ gives: run clients/cpp/amalgamate.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
