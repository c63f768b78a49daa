"""Entry point of `python -m infomech`, same as the command `infomech`."""

import sys

from infomech.cli import main

if __name__ == "__main__":
    sys.exit(main())
