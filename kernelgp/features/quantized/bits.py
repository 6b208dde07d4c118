"""Small whole numbers as planes of bits, and the sums over them that a popcount gives; compiled.

Row i of numbers below ``2^b`` is b planes of 64-bit words, the j-th number's bit k standing at bit
``j % 64`` of word ``j // 64`` of plane k. Then ``Σ_j u_j v_j`` is a sum of ``b²`` popcounts.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import extending, njit, types
from numpy.typing import NDArray

__all__ = ["centred_products", "pack", "row_sums", "unpack", "words"]

# Its annotations say that what it decorates is called with the compiler's context.
intrinsic: Any = extending.intrinsic

# Rows of a tile of the product: two tiles of 4096 one-bit numbers fill 64 KB.
_TILE = 64


def words(count: int) -> int:
    """64-bit words for so many bits."""
    return -(-count // 64)


@intrinsic
def _popcount(typing_context: Any, word: Any) -> Any:
    """The number of ones of a uint64, as int64."""
    del typing_context, word

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@njit(nogil=True, cache=True)
def pack(sums, offset, planes, first):
    """Write ``u = (s + offset) / 2`` of sums (columns, rows) into planes (n, b, words)."""
    _, n_bits, n_words = planes.shape
    rows = sums.shape[1]
    codes = np.empty(rows, np.int64)
    planes[first : first + rows] = np.uint64(0)
    for w in range(n_words):
        for j in range(64 * w, min(64 * (w + 1), sums.shape[0])):
            for i in range(rows):
                codes[i] = np.int64(sums[j, i] + offset) >> 1
            for k in range(n_bits):
                for i in range(rows):
                    planes[first + i, k, w] |= np.uint64((codes[i] >> k) & 1) << np.uint64(j % 64)


@njit(nogil=True, cache=True)
def unpack(planes, offset, out):
    """``s = 2 u - offset`` of planes (n, b, words) in out (n, columns), float32."""
    _, n_bits, _ = planes.shape
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            w, shift = j // 64, np.uint64(j % 64)
            code = np.int64(0)
            for k in range(n_bits):
                code |= np.int64((planes[i, k, w] >> shift) & np.uint64(1)) << k
            out[i, j] = np.float32(2 * code - offset)


@njit(nogil=True, cache=True)
def row_sums(planes):
    """The sum of each row's numbers, (n,) int64."""
    n, n_bits, n_words = planes.shape
    out = np.zeros(n, np.int64)
    for i in range(n):
        for k in range(n_bits):
            count = np.int64(0)
            for w in range(n_words):
                count += _popcount(planes[i, k, w])
            out[i] += count << k
    return out


def centred_products(
    left: NDArray[np.uint64],
    right: NDArray[np.uint64] | None,
    columns: int,
    offset: int,
    scale: float,
    out: NDArray[Any],
) -> None:
    """``out = scale * S Tᵀ`` for ``S = 2 U - offset`` of the numbers U of planes, T likewise.

    The sums are whole numbers and exact; each is rounded once, to the dtype of out. With `right`
    None it is `left`, and only tiles on and above the diagonal are computed.
    """
    threads = max(1, min(torch.get_num_threads(), len(left) // _TILE))
    other, mirror = (left, True) if right is None else (right, False)
    sums = row_sums(left), row_sums(other)

    def run(thread: int) -> None:
        _product(left, other, *sums, columns, offset, mirror, scale, out, thread, threads)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(threads)))


@njit(nogil=True, cache=True)
def _product(
    left, right, left_sums, right_sums, columns, offset, mirror, scale, out, thread, threads
):
    """The tiles of rows thread, thread + threads, ...: near equal shares of a triangle too."""
    n, n_bits, n_words = left.shape
    m = right.shape[0]
    constant = columns * offset * offset
    for tile in range(thread, (n + _TILE - 1) // _TILE, threads):
        top, bottom = tile * _TILE, min((tile + 1) * _TILE, n)
        for start in range(top if mirror else 0, m, _TILE):
            stop = min(start + _TILE, m)
            for i in range(top, bottom):
                j = start
                own = constant - 2 * offset * left_sums[i]
                # Four at a time, so that a word that is read is used four times.
                while j < stop:
                    two, three, four = min(j + 1, m - 1), min(j + 2, m - 1), min(j + 3, m - 1)
                    a, b, c, d = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
                    for k in range(n_bits):
                        for other in range(n_bits):
                            p, q, r, s = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
                            for w in range(n_words):
                                x = left[i, k, w]
                                p += _popcount(x & right[j, other, w])
                                q += _popcount(x & right[two, other, w])
                                r += _popcount(x & right[three, other, w])
                                s += _popcount(x & right[four, other, w])
                            shift = k + other
                            a += p << shift
                            b += q << shift
                            c += r << shift
                            d += s << shift
                    out[i, j] = scale * (4 * a + own - 2 * offset * right_sums[j])
                    if j + 1 < stop:
                        out[i, j + 1] = scale * (4 * b + own - 2 * offset * right_sums[j + 1])
                    if j + 2 < stop:
                        out[i, j + 2] = scale * (4 * c + own - 2 * offset * right_sums[j + 2])
                    if j + 3 < stop:
                        out[i, j + 3] = scale * (4 * d + own - 2 * offset * right_sums[j + 3])
                    j += 4
            if mirror and start > top:
                for i in range(top, bottom):
                    for j in range(start, stop):
                        out[j, i] = out[i, j]
