"""Eight float64 numbers as one value of compiled code: eight small matrices factored at once.

Vecchia's columns are thousands of independent Cholesky factors of some thirty rows, too small for
a library call each. Laid out side by side, entry by entry, eight of them fill the widest vector
registers and every operation below is one instruction for all eight. LLVM cannot find this by
itself: it does not know that numba's arrays do not overlap. Where registers are narrower it splits
the operations, so that the code runs everywhere.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.extending import models, overload, register_model

__all__ = [
    "LANES",
    "any_below",
    "exp",
    "fma",
    "greater",
    "largest",
    "lesser",
    "load",
    "log",
    "spread",
    "sqrt",
    "store",
]

# Its annotations say that what it decorates is called with the compiler's context.
intrinsic: Any = extending.intrinsic

LANES = 8
_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(64), LANES)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float64x{LANES}")


_lanes = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _DOUBLES)


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Where row `arguments[1]` of a C-contiguous (rows, LANES) array begins."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    row = builder.mul(arguments[1], ir.Constant(ir.IntType(64), LANES))
    start = builder.gep(array.data, [row])
    return builder.bitcast(start, _DOUBLES.as_pointer())


@intrinsic
def load(typing_context: Any, array: Any, row: Any) -> Any:
    """Row `row` of a C-contiguous float64 array of shape (rows, LANES)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, arguments), align=8)

    return _lanes(array, types.int64), generate


@intrinsic
def store(typing_context: Any, array: Any, row: Any, value: Any) -> Any:
    """Set a row of an array as `load` takes it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _pointer(context, builder, signature, arguments), align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, _lanes), generate


@intrinsic
def spread(typing_context: Any, number: Any) -> Any:
    """One number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        empty = ir.Constant(_DOUBLES, ir.Undefined)
        zero = ir.Constant(ir.IntType(32), 0)
        one = builder.insert_element(empty, arguments[0], zero)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, empty, mask)

    return _lanes(types.float64), generate


def _binary(instruction: str) -> Any:
    @intrinsic
    def operation(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return _lanes(_lanes, _lanes), generate

    return operation


def _overload(function: Any, instruction: str) -> None:
    operation = _binary(instruction)

    # Annotated, it would not look like what it returns, which numba refuses.
    def on_lanes(left, right):
        both = left is _lanes and right is _lanes
        return (lambda left, right: operation(left, right)) if both else None

    overload(function)(on_lanes)


for _function, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _overload(_function, _instruction)


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, fused where the machine can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        product = builder.fmul(arguments[0], arguments[1], flags=("contract",))
        return builder.fadd(product, arguments[2], flags=("contract",))

    return _lanes(_lanes, _lanes, _lanes), generate


@intrinsic
def sqrt(typing_context: Any, value: Any) -> Any:
    """The square root of every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        full = f"llvm.sqrt.v{LANES}f64"
        kind = ir.FunctionType(_DOUBLES, [_DOUBLES])
        function = builder.module.globals.get(full) or ir.Function(builder.module, kind, name=full)
        return builder.call(function, arguments)

    return _lanes(_lanes), generate


def _preferred(relation: str) -> Any:
    """Of two values the one that stands in a relation to the other; the right one at a NaN."""

    @intrinsic
    def operation(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            left_is = builder.fcmp_ordered(relation, *arguments)
            return builder.select(left_is, *arguments)

        return _lanes(_lanes, _lanes), generate

    return operation


greater, lesser = _preferred(">"), _preferred("<")


@intrinsic
def any_below(typing_context: Any, left: Any, right: Any) -> Any:
    """Whether the left is less than the right in any lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        below = builder.fcmp_ordered("<", *arguments)
        bits = builder.bitcast(below, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(_lanes, _lanes), generate


@intrinsic
def largest(typing_context: Any, value: Any) -> Any:
    """The largest of all lanes, none of them NaN."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kept = builder.extract_element(arguments[0], ir.Constant(ir.IntType(32), 0))
        for lane in range(1, LANES):
            other = builder.extract_element(arguments[0], ir.Constant(ir.IntType(32), lane))
            kept = builder.select(builder.fcmp_ordered(">", kept, other), kept, other)
        return kept

    return types.float64(_lanes), generate


@intrinsic
def _power_of_two(typing_context: Any, shifted: Any) -> Any:
    """``2^k`` from ``k + 2^52 + 2^51``, whose low bits are k."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _INTEGERS)
        bias = ir.Constant(_INTEGERS, [1023] * LANES)
        place = ir.Constant(_INTEGERS, [52] * LANES)
        return builder.bitcast(builder.shl(builder.add(bits, bias), place), _DOUBLES)

    return _lanes(_lanes), generate


@intrinsic
def _exponent(typing_context: Any, value: Any) -> Any:
    """The k of ``value = 2^k mantissa``, the mantissa in [sqrt(1/2), sqrt(2))."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _INTEGERS)
        # Adding what lies between sqrt(1/2) and 1 carries into the exponent from sqrt(2) on.
        carry = ir.Constant(_INTEGERS, [_ONE_BITS - _SQRT_HALF_BITS] * LANES)
        place = ir.Constant(_INTEGERS, [52] * LANES)
        bias = ir.Constant(_INTEGERS, [1023] * LANES)
        k = builder.sub(builder.ashr(builder.add(bits, carry), place), bias)
        return builder.sitofp(k, _DOUBLES)

    return _lanes(_lanes), generate


_ONE_BITS = int(np.float64(1.0).view(np.int64))
_SQRT_HALF_BITS = int(np.sqrt(0.5).view(np.int64))
_SHIFT = 1.5 * 2.0**52
_LOG2_E = float(np.log2(np.e))
# ln 2 in two parts, so that k times the first is exact.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_LEAST = -708.0


@njit(inline="always")
def exp(x):
    """``e^x`` for x up to 708, to 2e-16; below -708 it is 3e-308."""
    kept = greater(x, spread(_LEAST))
    shifted = fma(kept, spread(_LOG2_E), spread(_SHIFT))
    k = shifted - spread(_SHIFT)
    r = fma(k, spread(-_LN2_LOW), fma(k, spread(-_LN2_HIGH), kept))
    # Taylor: |r| is at most ln(2) / 2, and 0.35^14 / 14! is 4e-18.
    p = spread(1.0 / 6227020800.0)
    p = fma(p, r, spread(1.0 / 479001600.0))
    p = fma(p, r, spread(1.0 / 39916800.0))
    p = fma(p, r, spread(1.0 / 3628800.0))
    p = fma(p, r, spread(1.0 / 362880.0))
    p = fma(p, r, spread(1.0 / 40320.0))
    p = fma(p, r, spread(1.0 / 5040.0))
    p = fma(p, r, spread(1.0 / 720.0))
    p = fma(p, r, spread(1.0 / 120.0))
    p = fma(p, r, spread(1.0 / 24.0))
    p = fma(p, r, spread(1.0 / 6.0))
    p = fma(p, r, spread(0.5))
    p = fma(p, r, spread(1.0))
    p = fma(p, r, spread(1.0))
    return p * _power_of_two(shifted)


@njit(inline="always")
def log(x):
    """The natural logarithm of positive normal numbers, to some 4e-16."""
    k = _exponent(x)
    mantissa = x * _power_of_two(spread(_SHIFT) - k)
    f = (mantissa - spread(1.0)) / (mantissa + spread(1.0))
    s = f * f
    # atanh: s is at most 0.0295, and 0.0295^11 / 23 is 6e-19.
    p = spread(1.0 / 21.0)
    p = fma(p, s, spread(1.0 / 19.0))
    p = fma(p, s, spread(1.0 / 17.0))
    p = fma(p, s, spread(1.0 / 15.0))
    p = fma(p, s, spread(1.0 / 13.0))
    p = fma(p, s, spread(1.0 / 11.0))
    p = fma(p, s, spread(1.0 / 9.0))
    p = fma(p, s, spread(1.0 / 7.0))
    p = fma(p, s, spread(1.0 / 5.0))
    p = fma(p, s, spread(1.0 / 3.0))
    p = fma(p, s, spread(1.0))
    return fma(k, spread(_LN2_HIGH), fma(k, spread(_LN2_LOW), (f + f) * p))
