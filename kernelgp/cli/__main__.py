"""``python -m kernelgp.cli``, where the command itself is not on the path."""

import sys

from kernelgp.cli.app import main

sys.exit(main())
