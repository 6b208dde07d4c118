"""The command `kernelgp`."""

from kernelgp.cli.app import app, main

__all__ = ["app", "main"]
