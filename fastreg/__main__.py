"""`python -m fastreg` is the command `fastreg`."""

import sys

from fastreg.cli import main

sys.exit(main())
