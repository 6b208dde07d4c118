"""``python -m experiments.operators``."""

import sys

from experiments import operators
from experiments.harness import main
from experiments.operators.backend_table import write_table
from experiments.operators.report import report
from experiments.operators.tasks import tasks

# Memory is measured in fresh processes, which import this module too.
if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--write-table"]
    code = main("operators", str(operators.__doc__), tasks, report, arguments)
    if "--write-table" in sys.argv:
        print(f"\nwrote {write_table()}")
    sys.exit(code)
