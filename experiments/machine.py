"""What a benchmark ran on: versions and hardware, and no name of a machine or a person."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

__all__ = ["machine", "versions"]


def versions(extra: Sequence[str]) -> dict[str, str]:
    names = ("kernelgp", "torch", "gpytorch", "linear_operator", "numpy", "scipy", *extra)
    found = {"python": platform.python_version()}
    distributions = _distributions()
    for name in names:
        for distribution in distributions.get(name, ())[:1]:
            found[name] = importlib.metadata.version(distribution)
    return found


# Reads the metadata of every installed package: half a second.
_distributions = cache(importlib.metadata.packages_distributions)


def machine() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line)
    return next(names, platform.processor())
