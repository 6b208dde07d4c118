"""``python -m experiments.vecchia``."""

import sys

from experiments import vecchia
from experiments.harness import main
from experiments.vecchia.report import report
from experiments.vecchia.tasks import tasks

if __name__ == "__main__":
    sys.exit(main("vecchia", str(vecchia.__doc__), tasks, report))
