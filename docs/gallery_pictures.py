"""Pictures of the gallery: examples save theirs to files, as a user's script would."""

import shutil
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

__all__ = ["scrape", "tidy"]


def scrape(block, block_vars, gallery_conf):
    """The PNG files that a block of an example wrote beside itself, as figures of its page."""
    del block
    shown = []
    paths = block_vars["image_path_iterator"]
    for picture, path in zip(sorted(Path.cwd().glob("*.png")), paths, strict=False):
        shutil.move(picture, path)
        shown.append(path)
    return figure_rst(shown, gallery_conf["src_dir"])


def tidy(gallery_conf, script):
    """Remove what an example saved beside itself: the next build is to begin where this one did."""
    del script
    for folder in gallery_conf["examples_dirs"]:
        for path in (Path(gallery_conf["src_dir"]) / folder).iterdir():
            if path.suffix in {".gp", ".nc", ".ckpt"}:
                path.unlink()
