"""Whether there are as many conditions as an equation needs, and at the right ends.

Along an axis on which the equations are of order k they need k conditions over its two ends;
a periodic axis has them all. What is missing or too much is an error before anything is solved.
"""

from collections.abc import Mapping, Sequence

from kernelgp.errors import ArgumentError
from solvers.domain import Box
from solvers.faces import Face
from solvers.operator import DifferentialOperator

__all__ = ["check_counts", "check_ends", "check_orders"]


def check_counts(
    box: Box, needed: Sequence[int], faces: Sequence[Face], periodic: Sequence[int], *, seen: bool
) -> None:
    """Raise where an axis has fewer conditions than it needs, or more.

    Parameters
    ----------
    box
    needed
        For each axis the order of the equations along it, all functions together.
    faces, periodic
    seen
        Whether there are observations, which may stand in for what is missing.

    Raises
    ------
    ArgumentError
        It names the faces and the numbers.
    """
    missing: list[str] = []
    for axis, (name, order) in enumerate(zip(box.axes, needed, strict=True)):
        here = [face for face in faces if face.axis == axis and box.reaches(face.name)]
        if axis in periodic:
            continue
        # Both ends of a first-order axis: one is what the equation needs, the other is checked.
        spare = order == 1 and len(here) == 2 and here[0].end != here[1].end
        if len(here) > order and not spare:
            given = f"{len(here)} along {name}, where the equation is of order {order}"
            raise ArgumentError("conditions", given, f"give {order}, or more on another axis")
        if len(here) >= order or seen:
            continue
        present = {face.name for face in here}
        absent = [face for face in (f"{name}-", f"{name}+") if face not in present]
        # An end that the region does not reach has none, and the edge stands in for it.
        if any(not box.reaches(face) for face in absent):
            absent = [face for face in absent if box.reaches(face)]
            if order > 1 or not absent:
                missing += absent
                continue
        if order == 1 or (order == 2 and absent):
            missing += absent if order == 2 else [" or ".join(absent)]
        else:
            given = f"{len(here)} along {name}, where the equation is of order {order}"
            example = f"Neumann(0, on='{name}-')"
            remedy = f"give {order} over {name}- and {name}+, such as {example} besides the values"
            raise ArgumentError("conditions", given, remedy)
    if missing:
        first = missing[0].split()[0]
        remedy = f"give one on each, such as Dirichlet(0, on={first!r})"
        what = "face" if len(missing) == 1 else "faces"
        raise ArgumentError("conditions", f"none on {what} {', '.join(missing)}", remedy)


def check_orders(box: Box, orders: Mapping[str, tuple[int, ...]], faces: Sequence[Face]) -> None:
    """Raise where a condition holds a derivative that the equation gives already.

    Raises
    ------
    ArgumentError
    """
    for face in faces:
        order, axis = orders[face.function][face.axis], box.axes[face.axis]
        if order and len(face.weights) > order:
            given = f"{face.kind} on {face.name}, where the equation is of order {order} in {axis}"
            raise ArgumentError("conditions", given, "give the values there, by Dirichlet")


def check_ends(box: Box, operator: DifferentialOperator, faces: Sequence[Face]) -> None:
    """Raise where an elliptic equation has value and slope at one end, and nothing at the other.

    From there every wave along the other axes grows exponentially, rounding among them.

    Raises
    ------
    ArgumentError
    """
    squares = {
        term.orders.index(2): term.coefficient
        for term in operator.terms
        if sum(term.orders) == 2 and 2 in term.orders
    }
    for axis, coefficient in squares.items():
        ends = [face.end for face in faces if face.axis == axis]
        others = [other for k, other in squares.items() if k != axis]
        # A wave equation has the other sign, and a coefficient that varies is NaN.
        if len(ends) == 2 and ends[0] == ends[1] and any(coefficient * c > 0 for c in others):
            name = box.axes[axis]
            given = f"two on {name}{'-+'[ends[0]]}, where the equation is elliptic"
            raise ArgumentError("conditions", given, f"give one on each of {name}- and {name}+")
