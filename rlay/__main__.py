"""``python -m rlay``: the command line, as the script ``rlay``."""

import sys

from rlay.cli import main

if __name__ == "__main__":
    sys.argv[0] = "rlay"  # what people see of it in a channel's header
    sys.exit(main())
