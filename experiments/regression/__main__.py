"""``python -m experiments.regression``."""

import sys

from experiments import regression
from experiments.harness import main
from experiments.regression.report import report
from experiments.regression.tasks import tasks

if __name__ == "__main__":
    sys.exit(main("regression", str(regression.__doc__), tasks, report))
