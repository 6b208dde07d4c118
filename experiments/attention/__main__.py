"""``python -m experiments.attention``."""

import sys

from experiments import attention
from experiments.attention.report import report
from experiments.attention.tasks import tasks
from experiments.harness import main

# Memory may be measured in fresh processes, which import this module too.
if __name__ == "__main__":
    sys.exit(main("attention", str(attention.__doc__), tasks, report))
