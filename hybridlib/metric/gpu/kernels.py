"""Kernels of a GPU, compiled by Triton: the count of a tile, inner products in float64, and float16 parts.

They are compiled for CUDA at their first call. Under `TRITON_INTERPRET=1` they run on the CPU, slowly, for tests.
"""

import triton
import triton.language as tl


# Triton would compile anew for numbers that are 1 or multiples of 16; these do not specialise it.
@triton.jit(do_not_specialize=["number_of_queries", "query_blocks", "languages", "capacity"])
def count_above(  # type: ignore[no-untyped-def]
    queries, passages, inverse_norms, tiles, first_pair, most_pairs, low, high, above, near_pair, near_row, near,
    number_of_queries, query_blocks, width, stride, languages, capacity,
    SCALED: tl.constexpr, PRODUCTS: tl.constexpr, WIDENED: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Score a tile of queries and passages, count by pair what is surely above, and list what may be.

    Scores live in registers only. A program counts a tile of one language. Programs with the same passages run side by
    side, so the passages come from memory once.

    Args:
        queries: half-precision rows: D numbers, or the D high and then the D low parts of wider ones. (Q, stride)
        passages: rows of the same type and layout. (P, stride)
        inverse_norms: float32, by which the scores of a passage are multiplied if `SCALED`. (P,)
        tiles: int64 first passage, passage after the last, and language of each tile. (T, 3)
        first_pair: place of each query's first pair among all, which are sorted by query. (Q + 1,)
        most_pairs: the most pairs that a query of each block of `BLOCK_Q` has. (query_blocks,)
        low, high: float32 scores below and above which a passage is surely worse or better than a pair's. (N,)
        above: int64 counts, added to. (N, languages)
        near_pair, near_row: the pair and the passage of each score in between, in any order. (capacity,)
        near: their int64 number, which counts on where the list is full. (1,)
        width: D, a multiple of `BLOCK_K`.
        WIDENED: multiply in float32, because the interpreter multiplies the bits of bfloat16 as if they were numbers.
    """
    program = tl.program_id(0)
    block = program % query_blocks
    tile = tiles + 3 * (program // query_blocks)
    begin, stop, language = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)  # (BLOCK_Q,)
    p = begin + tl.arange(0, BLOCK_P)  # (BLOCK_P,)
    column = tl.arange(0, BLOCK_P)[None, :]
    k = tl.arange(0, BLOCK_K)
    # Past the end, the last row is read again: a mask would be slower. Rows times width needs int64.
    q_rows = queries + tl.minimum(q, number_of_queries - 1).to(tl.int64)[:, None] * stride + k[None, :]
    p_rows = passages + tl.minimum(p, stop - 1)[:, None] * stride + k[None, :]
    scores = tl.zeros((BLOCK_Q, BLOCK_P), dtype=tl.float32)
    for part in tl.static_range(PRODUCTS):
        # The small products come first, as the bound asks: low times high, high times low, high times high.
        q_part = q_rows + (width if PRODUCTS == 3 and part == 0 else 0)
        p_part = p_rows + (width if PRODUCTS == 3 and part == 1 else 0)
        for start in range(0, width, BLOCK_K):
            q_block, p_block = tl.load(q_part + start), tl.trans(tl.load(p_part + start))
            if WIDENED:
                q_block, p_block = q_block.to(tl.float32), p_block.to(tl.float32)
            scores = tl.dot(q_block, p_block, scores)
    if SCALED:
        scores *= tl.load(inverse_norms + tl.minimum(p, stop - 1))[None, :]
    scores = tl.where((p < stop)[None, :], scores, float("-inf"))

    inside = q < number_of_queries
    first = tl.load(first_pair + q, mask=inside, other=0)
    last = tl.load(first_pair + q + 1, mask=inside, other=0)
    for number in range(0, tl.load(most_pairs + block)):
        pair = first + number  # (BLOCK_Q,)
        held = pair < last
        lowest = tl.load(low + pair, mask=held, other=float("inf"))
        perhaps = tl.sum((scores >= lowest[:, None]).to(tl.int32), axis=1)  # (BLOCK_Q,)
        if tl.max(perhaps, axis=0) > 0:
            highest = tl.load(high + pair, mask=held, other=float("inf"))
            surely = tl.sum((scores > highest[:, None]).to(tl.int32), axis=1)
            tl.atomic_add(above + pair * languages + language, surely.to(tl.int64), mask=surely > 0)
            # Few lie in between: the last of each query's is listed, then the last before it.
            left = perhaps - surely  # (BLOCK_Q,)
            before = tl.full((BLOCK_Q,), BLOCK_P, tl.int32)
            while tl.max(left, axis=0) > 0:
                between = (scores >= lowest[:, None]) & (scores <= highest[:, None]) & (column < before[:, None])
                before = tl.max(tl.where(between, column, -1), axis=1)
                place = tl.atomic_add(near + tl.zeros_like(pair), tl.full((BLOCK_Q,), 1, tl.int64), mask=left > 0)
                kept = (left > 0) & (place < capacity)
                tl.store(near_pair + place, pair, mask=kept)
                tl.store(near_row + place, begin + before, mask=kept)
                left -= 1


@triton.jit(do_not_specialize=["number"])
def inner_products(  # type: ignore[no-untyped-def]
    left, right, left_row, right_row, products, number, width, BLOCK: tl.constexpr
):  # fmt: skip
    """Write float64 inner products of pairs of rows, bit by bit those of `hybridlib.metric.cpu.kernels.score`.

    It must be launched with `enable_fp_fusion=False`: of float64 inputs, a fused multiply-add rounds once where the CPU
    rounds twice.

    Args:
        left, right: floats. (L, width), (R, width)
        left_row, right_row: int64 rows of each pair. (number,)
        products: float64, written. (number,)
    """
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # (BLOCK,)
    mask = n < number
    lane = tl.arange(0, 32)
    a = left + tl.load(left_row + n, mask=mask, other=0)[:, None] * width + lane[None, :]  # (BLOCK, 32)
    b = right + tl.load(right_row + n, mask=mask, other=0)[:, None] * width + lane[None, :]
    partial = tl.zeros((BLOCK, 32), dtype=tl.float64)
    for d in range(0, width, 32):
        inside = (d + lane < width)[None, :]
        partial += _wide(tl.load(a + d, mask=inside, other=0.0)) * _wide(tl.load(b + d, mask=inside, other=0.0))
    # Neighbours are added until one is left; the order in which `tl.sum` adds is not documented.
    for halvings in tl.static_range(5):
        even, odd = tl.split(tl.reshape(partial, (BLOCK, 16 >> halvings, 2)))
        partial = even + odd
    tl.store(products + n, tl.reshape(partial, (BLOCK,)), mask=mask)


@triton.jit
def _wide(values):  # type: ignore[no-untyped-def]
    if values.dtype == tl.float64:
        return values
    return values.to(tl.float32).to(tl.float64)


@triton.jit(do_not_specialize=["number"])
def split(  # type: ignore[no-untyped-def]
    embeddings, scales, parts, number, width, padded, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    """Write each row times its scale as float16 high and low parts, with zeros up to `padded` columns each.

    Args:
        embeddings: floats. (number, width)
        scales: float64. (number,)
        parts: float16, written. (number, 2 * padded)
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    column = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    exists = (row < number)[:, None]
    given = embeddings + row[:, None] * width + column[None, :]
    scale = tl.load(scales + row, mask=row < number, other=0.0)
    scaled = _wide(tl.load(given, mask=exists & (column < width)[None, :], other=0.0)) * scale[:, None]
    high = scaled.to(tl.float32).to(tl.float16)
    low = (scaled - high.to(tl.float32).to(tl.float64)).to(tl.float32).to(tl.float16)
    written = parts + row[:, None] * (2 * padded) + column[None, :]
    tl.store(written, high, mask=exists & (column < padded)[None, :])
    tl.store(written + padded, low, mask=exists & (column < padded)[None, :])
