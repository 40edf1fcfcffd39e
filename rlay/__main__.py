"""``python -m rlay``: the command line, as the script ``rlay``."""

import sys

from rlay.cli import main

if __name__ == "__main__":
    sys.exit(main())
