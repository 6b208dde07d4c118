"""Errors of high-frequency PDE solutions: how small they are, and whether the GP knows them.

Prints published figures, trained networks, Chebyshev collocation and ours side by side, on the
gallery's problems, on grids too coarse for collocation, and on a chirp, which suits no prior of
tones; compares with reference solutions where their files are found; draws errors.png, waves.png
and sizes.png.
"""
