"""How the documentation is built; `make docs`."""

import re
import sys
from importlib import metadata
from pathlib import Path

import kernelgp

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "kernelgp"
release = metadata.version("kernelgp")
copyright = "the kernelgp authors"  # noqa: A001 - sphinx's name
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["build"]
templates_path = ["templates"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_title = "kernelgp"

# Names in docstrings stand in single backticks.
default_role = "code"
myst_enable_extensions = ["dollarmath", "deflist"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# Types in docstrings are prose: "array, shape (n,)" refers to nothing.
suppress_warnings = ["ref.python"]

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py$",
    "image_scrapers": ("gallery_pictures.scrape",),
    "reset_modules": ("gallery_pictures.tidy",),
    "reset_modules_order": "after",
    "download_all_examples": False,
    "show_memory": False,
    "abort_on_example_error": True,
    "plot_gallery": "True",
}

# What stands in `kernelgp` is described there, not once more where it comes from.
autosummary_context = {"top": set(kernelgp.__all__)}


def escape_stars(app, what, name, obj, options, lines):
    """Docstrings are formulas as much as prose: a star or a bar in them is itself."""
    del app, what, name, obj, options
    code = False
    for i, line in enumerate(lines):
        code = line.lstrip().startswith((">>>", "...")) or (code and bool(line.strip()))
        if not code:
            parts = re.split(r"(`+.+?`+)", line)
            parts[::2] = [re.sub(r"(?<!\\)([*|])", r"\\\1", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def skip_machinery(app, what, name, obj, skip, options):
    """scikit-learn gives every estimator methods for its routing of metadata."""
    del app, what, obj, options
    return skip or bool(re.fullmatch(r"set_\w+_request|get_metadata_routing", name))


def setup(app):
    # Before napoleon, which writes stars of its own.
    app.connect("autodoc-process-docstring", escape_stars, priority=100)
    app.connect("autodoc-skip-member", skip_machinery)
