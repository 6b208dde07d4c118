"""The page of `python -m experiments report`: one HTML file with every table and picture."""

from experiments.page.document import write_page

__all__ = ["write_page"]
