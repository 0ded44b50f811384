"""`python -m spoolhouse`: the same as the console script."""

import sys

from spoolhouse.cli import main

if __name__ == "__main__":
    sys.exit(main())
