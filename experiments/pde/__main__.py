"""``python -m experiments.pde``."""

import sys

from experiments import pde
from experiments.harness import main
from experiments.pde.report import report
from experiments.pde.tasks import tasks

if __name__ == "__main__":
    sys.exit(main("pde", str(pde.__doc__), tasks, report))
