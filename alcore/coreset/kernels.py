"""The inner loops of the core-set, compiled: exact products, bounds of products, and the exact update of a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from alcore.arrays.coreset import LANES
from alcore.coreset.compiled import estimate, kernel

TAKEN = np.inf
"""Key of a row that is covered."""
UNKNOWN = -np.inf
"""Key of a row of which nothing is known."""
GONE = np.float32(-10)
"""What is added to every product with a withdrawn centre; unit rows have products within +-1.002."""
NEVER = -2.0
"""Products below this are with withdrawn centres."""


@kernel
def exact_dot(a: Any, b: Any, lanes: Any) -> float:
    """Float64 inner product of two float32 rows, bit by bit that of `alcore.arrays.coreset.fixed_order_dot`.

    lanes: (LANES,) float64 to work in.
    """
    n = a.shape[0]
    full = n - n % LANES
    for k in range(LANES):
        lanes[k] = 0.0
    for i in range(0, full, LANES):
        aa = a[i : i + LANES]
        bb = b[i : i + LANES]
        for k in range(LANES):
            lanes[k] += np.float64(aa[k]) * np.float64(bb[k])
    for k in range(n - full):
        lanes[k] += np.float64(a[full + k]) * np.float64(b[full + k])
    width = LANES // 2
    while width > 0:
        for k in range(width):
            lanes[k] += lanes[width + k]
        width //= 2
    return lanes[0]


@estimate
def estimated_dot(a: Any, b: Any) -> np.float32:
    """Float32 inner product, in whatever order is fastest."""
    total = np.float32(0)
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@estimate
def block_products(y: Any, block: Any, begin: int, end: int, out: Any) -> None:
    """out[: end - begin] = y @ block[:, begin:end], float32; block: (m, B), m a multiple of 8.

    Slices, here and below, instead of ranges that begin somewhere: the compiler then knows that no index is negative.
    """
    n = end - begin
    for j in range(0, y.shape[0], 8):
        y0, y1, y2, y3 = y[j], y[j + 1], y[j + 2], y[j + 3]
        y4, y5, y6, y7 = y[j + 4], y[j + 5], y[j + 6], y[j + 7]
        b0, b1, b2, b3 = block[j, begin:end], block[j + 1, begin:end], block[j + 2, begin:end], block[j + 3, begin:end]
        b4, b5, b6, b7 = (
            block[j + 4, begin:end],
            block[j + 5, begin:end],
            block[j + 6, begin:end],
            block[j + 7, begin:end],
        )
        if j == 0:
            for q in range(n):
                out[q] = (
                    y0 * b0[q]
                    + y1 * b1[q]
                    + y2 * b2[q]
                    + y3 * b3[q]
                    + y4 * b4[q]
                    + y5 * b5[q]
                    + y6 * b6[q]
                    + y7 * b7[q]
                )
        else:
            for q in range(n):
                out[q] += (
                    y0 * b0[q]
                    + y1 * b1[q]
                    + y2 * b2[q]
                    + y3 * b3[q]
                    + y4 * b4[q]
                    + y5 * b5[q]
                    + y6 * b6[q]
                    + y7 * b7[q]
                )


@estimate
def widen(values: Any, r: np.float32, widths: Any, bias: Any) -> np.float32:
    """Turn middles into upper bounds in place; returns the largest lower bound. The bound is middle +- r * width."""
    best = np.float32(-100)
    for q in range(values.shape[0]):
        half = r * widths[q]
        middle = values[q] + bias[q]
        best = max(best, middle - half)
        values[q] = middle + half
    return best


@estimate
def largest(values: Any, bias: Any) -> np.float32:
    """Add the bias in place; returns the largest value."""
    best = np.float32(-100)
    for q in range(values.shape[0]):
        values[q] += bias[q]
        best = max(best, values[q])
    return best


@estimate
def top_of(values: Any) -> np.float32:
    """The largest value."""
    best = np.float32(-100)
    for q in range(values.shape[0]):
        best = max(best, values[q])
    return best


@kernel
def lowest_of(upper: Any, r: np.float32, widths: Any, best: np.float32) -> int:
    """The first centre of the block whose lower bound is `best`, up to rounding."""
    for q in range(upper.shape[0]):
        if upper[q] - np.float32(2.0) * r * widths[q] >= best - np.float32(1e-6):
            return q
    return -1


@kernel
def resolve(
    x: Any, centres: Any, first: int, upper: Any, key: float, near: int, limit: float, eps: float, listed: Any, lanes: Any
) -> Any:  # fmt: skip
    """Evaluate exactly whatever of some centres can be the nearest one, most promising first.

    x: (D,) row. upper: upper bounds of its products with centres[first], centres[first + 1] and so on.
    key, near: the largest product known to be reached, and by which centre. Stops early once key > limit: the row cannot
    be a candidate. Returns (key, near, are all resolved?, exact products evaluated). Equal products: the earliest centre.
    """
    threshold = max(key - eps, NEVER)
    if top_of(upper) < threshold:
        return key, near, True, 0
    n = 0
    for q in range(upper.shape[0]):
        if upper[q] >= threshold:
            listed[n] = q
            n += 1
    evaluated = 0
    while n > 0:
        best = 0
        for i in range(1, n):
            if upper[listed[i]] > upper[listed[best]]:
                best = i
        q = listed[best]
        if upper[q] < key - eps:
            break
        n -= 1
        listed[best] = listed[n]
        value = exact_dot(x, centres[first + q], lanes)
        evaluated += 1
        if value > key or (value == key and first + q < near):
            key, near = value, first + q
        if key > limit and n > 0:
            return key, near, False, evaluated
    return key, near, True, evaluated


@kernel
def update_pool(
    ids: Any, keys: Any, n: int, base: Any, tail: Any, near: Any, coordinates: Any, rest: Any, centre: Any,
    centre_coordinates: Any, centre_rest: np.float32, position: int, limit: float, eps: float,
    key_out: Any, resolved_out: Any, lanes: Any,
) -> Any:  # fmt: skip
    """Tell the candidates of a new centre; those that are no candidates any more leave.

    ids, keys: (n,) rows and their exact keys, changed in place. Returns (candidates left, bounds evaluated, exact products).
    """
    bounded, evaluated, j = 0, 0, 0
    n_base, m = base.shape[0], coordinates.shape[1]
    while j < n:
        i = ids[j]
        near_enough = True
        if m > 0:
            bounded += 1
            upper = estimated_dot(coordinates[i], centre_coordinates) + rest[i] * centre_rest
            near_enough = upper >= keys[j] - eps
        if near_enough:
            evaluated += 1
            x = base[i] if i < n_base else tail[i - n_base]
            value = exact_dot(x, centre, lanes)
            if value > keys[j]:
                keys[j] = value
                near[i] = position
                if value > limit:
                    key_out[i] = value
                    resolved_out[i] = position + 1
                    n -= 1
                    ids[j] = ids[n]
                    keys[j] = keys[n]
                    continue
        j += 1
    return n, bounded, evaluated


@kernel
def lowest(ids: Any, keys: Any, n: int) -> int:
    """Place of the smallest key among the first n; the lowest id on ties; -1 when there is none."""
    best = -1
    for j in range(n):
        if best < 0 or keys[j] < keys[best] or (keys[j] == keys[best] and ids[j] < ids[best]):
            best = j
    return best


@kernel
def refresh_bounded(
    ids: Any, base: Any, tail: Any, coordinates: Any, rest: Any, centres: Any, blocks: Any, widths: Any, bias: Any,
    n_centres: int, limit: float, eps: float, key: Any, near: Any, resolved: Any,
) -> Any:  # fmt: skip
    """Bring rows up to date with all centres, or until they are known to be no candidates (key > limit).

    blocks: (ceil(T / B), m, B) coordinates of the centres; widths, bias: (ceil(T / B), B). key[i] stays a lower bound of the
    row's largest product with any centre, reached by near[i], and is exact for the first resolved[i] centres.
    Returns (bounds evaluated, exact products).
    """
    size = blocks.shape[2]
    buffer = np.empty(size, np.float32)
    listed = np.empty(size, np.int32)
    lanes = np.empty(LANES)
    bounded, evaluated, n_base = 0, 0, base.shape[0]
    for i in ids:
        x = base[i] if i < n_base else tail[i - n_base]
        y, r = coordinates[i], rest[i]
        mine, mine_near, done = key[i], near[i], resolved[i]
        while done < n_centres:
            b = done // size
            first = b * size
            begin, end = done - first, min(n_centres - first, size)
            bounds, width = buffer[: end - begin], widths[b, begin:end]
            block_products(y, blocks[b], begin, end, bounds)
            bounded += end - begin
            best = widen(bounds, r, width, bias[b, begin:end])
            if best - eps > mine and best > NEVER:
                q = lowest_of(bounds, r, width, best)
                if q >= 0:
                    mine, mine_near = best - eps - 1e-6, done + q
            if mine > limit:
                break
            mine, mine_near, complete, n = resolve(x, centres, done, bounds, mine, mine_near, limit, eps, listed, lanes)
            evaluated += n
            if not complete:
                break
            done = first + end
            if mine > limit:
                break
        key[i], near[i], resolved[i] = mine, mine_near, done
    return bounded, evaluated


@kernel
def absorb(
    ids: Any, rows: Any, products: Any, centres: Any, first: int, end: int, bias: Any, limit: float, eps: float,
    key: Any, near: Any, resolved: Any, alive: Any,
) -> Any:  # fmt: skip
    """Take in the float32 products (n, B) of rows with one block of centres, exact where it matters.

    Writes the numbers of the rows that may still be candidates into `alive`; returns (how many, exact products evaluated).
    """
    listed = np.empty(products.shape[1], np.int32)
    lanes = np.empty(LANES)
    n_alive, evaluated = 0, 0
    for j in range(ids.shape[0]):
        i = ids[j]
        upper = products[j]
        best = largest(upper, bias)
        mine, mine_near = key[i], near[i]
        if best - eps > mine and best > NEVER:
            for q in range(end):
                if upper[q] == best:
                    mine, mine_near = best - eps, first + q
                    break
        complete = False
        if mine <= limit:
            mine, mine_near, complete, n = resolve(
                rows[j], centres, first, upper, mine, mine_near, limit, eps, listed, lanes
            )
            evaluated += n
        if complete:
            resolved[i] = first + end
            if mine <= limit:
                alive[n_alive] = j
                n_alive += 1
        key[i], near[i] = mine, mine_near
    return n_alive, evaluated
