"""``python -m experiments.features``."""

import sys

from experiments import features
from experiments.features.report import report
from experiments.features.tasks import tasks
from experiments.harness import main

if __name__ == "__main__":
    sys.exit(main("features", str(features.__doc__), tasks, report))
