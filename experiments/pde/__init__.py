"""Errors of high-frequency PDE solutions: how small they are, and whether the GP knows them.

Prints published figures, trained networks, Chebyshev collocation and ours side by side, on the
gallery's problems, on grids too coarse for collocation, and on a chirp that does not suit a GP;
draws errors.png, waves.png and sizes.png.
"""
