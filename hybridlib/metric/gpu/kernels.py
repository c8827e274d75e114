"""Kernels of a GPU, compiled by Triton: the count of a tile, and scores in float64.

They are compiled for CUDA at their first call. Under `TRITON_INTERPRET=1` they run on the CPU, slowly, for tests.
Kernels that make float64 scores must be launched with `enable_fp_fusion=False`: where inputs are float64, a fused
multiply-add rounds once and the CPU twice.
"""

import triton
import triton.language as tl

# Columns of a tile that are so far apart share a mask. Tensor cores leave each thread two of every eight columns, so a
# thread makes a mask of scores that it holds itself.
_APART = tl.constexpr(16)
# Columns that a mask holds at most, and 2 to the power of it.
_BITS, _ONE = tl.constexpr(16), tl.constexpr(1 << 16)


# Triton would compile anew for numbers that are 1 or multiples of 16; these do not specialise it. Nor does the address
# of the tiles, which is no multiple of 16 where their second half begins at an odd one.
@triton.jit(
    do_not_specialize=["number_of_queries", "query_blocks", "languages", "capacity"],
    do_not_specialize_on_alignment=["tiles"],
)
def count_above(  # type: ignore[no-untyped-def]
    queries, passages, inverse_norms, order, tiles, first_pair, most_pairs, low, high, above, listed, found,
    number_of_queries, query_blocks, width, stride, languages, capacity,
    PRODUCTS: tl.constexpr, WIDENED: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Score a tile of queries and passages, count by pair what is surely above, and list what may be.

    Scores live in registers only. A program counts a tile of one language. Programs with the same passages run side by
    side, so the passages come from memory once.

    The scores in a pair's band are listed by masks, each of the columns j, j + 16, j + 32, ... of a tile: bit i is for
    column j + 16 i. No program reads what another adds, so the atomic additions are `relaxed`: others would wait for
    all that the program has written.

    Args:
        queries: half-precision rows: D numbers, or the D high and then the D low parts of wider ones. (Q, stride)
        passages: rows of the same type and layout. (C, stride)
        inverse_norms: float32, by which the scores of a passage are multiplied; or None. (C,)
        order: int32 row of each place, by language; None if it is the place. (C,)
        tiles: int64 first place, place after the last, and language of each tile. (T, 3)
        first_pair: place of each query's first pair among all, which are sorted by query and threshold. (Q + 1,)
        most_pairs: the most pairs that a query of each block of `BLOCK_Q` has. (query_blocks,)
        low, high: float32 scores below and above which a passage is surely worse or better than a pair's. (N,)
        above: int64 counts, added to. (N, languages)
        listed: int64 pair, and place of column j times 2^32 plus the mask, in any order. (capacity, 2)
        found: their int64 number, which counts on where the list is full. (1 or more,)
        width: D, a multiple of `BLOCK_K`.
        WIDENED: multiply in float32, because the interpreter multiplies the bits of bfloat16 as if they were numbers.
    """
    tl.static_assert(BLOCK_P <= _APART * _BITS)
    program = tl.program_id(0)
    block = program % query_blocks
    tile = tiles + 3 * (program // query_blocks)
    begin, stop, language = tl.load(tile), tl.load(tile + 1), tl.load(tile + 2)
    if begin >= stop:
        return
    q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)  # (BLOCK_Q,)
    p = begin + tl.arange(0, BLOCK_P)  # (BLOCK_P,)
    k = tl.arange(0, BLOCK_K)
    # Past the end, the last row is read again: a mask would be slower. Rows times stride needs int64.
    row = tl.minimum(p, stop - 1)
    if order is not None:
        row = tl.load(order + row).to(tl.int64)
    if inverse_norms is not None:
        inverse = tl.load(inverse_norms + row)  # (BLOCK_P,)
    q_rows = queries + tl.minimum(q, number_of_queries - 1).to(tl.int64)[:, None] * stride + k[None, :]
    p_rows = passages + row[:, None] * stride + k[None, :]
    scores = tl.zeros((BLOCK_Q, BLOCK_P), dtype=tl.float32)
    # The small products come first, as the bound asks: low times high, high times low, high times high.
    for start in range(0, PRODUCTS * width, BLOCK_K):
        q_start, p_start = start, start
        if PRODUCTS == 3:
            q_start = tl.where(
                start < width, start + width, tl.where(start < 2 * width, start - width, start - 2 * width)
            )
            p_start = tl.where(start < 2 * width, start, start - 2 * width)
        q_block, p_block = tl.load(q_rows + q_start), tl.trans(tl.load(p_rows + p_start))
        if WIDENED:
            q_block, p_block = q_block.to(tl.float32), p_block.to(tl.float32)
        scores = tl.dot(q_block, p_block, scores)
    if inverse_norms is not None:
        scores *= inverse[None, :]
    if stop - begin < BLOCK_P:
        scores = tl.where((p < stop)[None, :], scores, float("-inf"))

    inside = q < number_of_queries
    first = tl.load(first_pair + q, mask=inside, other=0)
    last = tl.load(first_pair + q + 1, mask=inside, other=0)
    largest = tl.max(scores, axis=1)  # (BLOCK_Q,)
    # The whole part of a sum counts and its fraction is a mask. A GPU multiplies and adds floats fastest, and 21 bits
    # are exact in float32. As whole numbers, the compiler would add them by slower instructions.
    bit = ((1 << tl.arange(0, BLOCK_P // _APART)).to(tl.float32) * 2.0**-16)[None, :, None]
    place = (begin + tl.arange(0, _APART))[None, :]
    number, most = 0, tl.load(most_pairs + block).to(tl.int32)
    while number < most:
        pair = first + number  # (BLOCK_Q,)
        # No score reaches NaN, not even an infinite one of a row that will be refused.
        lowest = tl.load(low + pair, mask=pair < last, other=float("nan"))
        highest = tl.load(high + pair, mask=pair < last, other=float("nan"))
        number += 1
        if tl.max((largest >= lowest).to(tl.int32), axis=0) == 0:
            number = most  # no score reaches a pair, so none reaches the next, whose threshold is no lower
        else:
            perhaps = tl.reshape((scores >= lowest[:, None]).to(tl.float32), (BLOCK_Q, BLOCK_P // _APART, _APART))
            surely = tl.reshape((scores > highest[:, None]).to(tl.float32), (BLOCK_Q, BLOCK_P // _APART, _APART))
            reached = (tl.sum(perhaps * bit, axis=1) * _ONE).to(tl.int32)  # (BLOCK_Q, _APART)
            passed = (tl.sum(surely * (bit + 1), axis=1) * _ONE).to(tl.int32)
            counted = tl.sum(passed >> _BITS, axis=1)  # (BLOCK_Q,)
            counts = above + pair * languages + language
            tl.atomic_add(counts, counted.to(tl.int64), mask=counted > 0, sem="relaxed")
            between = reached & ~passed & (_ONE - 1)
            if tl.max(tl.max(between, axis=1), axis=0) > 0:
                one = tl.full(between.shape, 1, tl.int64)
                to = tl.atomic_add(found + tl.zeros_like(between), one, mask=between > 0, sem="relaxed")
                kept = (between > 0) & (to < capacity)
                tl.store(listed + 2 * to, tl.broadcast_to(pair[:, None], between.shape), mask=kept)
                tl.store(listed + 2 * to + 1, (place << 32) | between.to(tl.int64), mask=kept)


@triton.jit(do_not_specialize=["number"])
def score_pairs(  # type: ignore[no-untyped-def]
    queries, passages, query, row, scores, number, width, COSINE: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Write the float64 scores of pairs of a query and a passage.

    Args:
        queries, passages: floats. (Q, width), (R, width)
        query, row: int64 rows of each pair. (number,)
        scores: float64, written. (number,)
    """
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # (BLOCK,)
    held = n < number
    q, p = tl.load(query + n, mask=held, other=0), tl.load(row + n, mask=held, other=0)
    tl.store(scores + n, _score(queries, passages, q, p, held, width, COSINE), mask=held)


@triton.jit(do_not_specialize=["start", "languages", "capacity"])
def settle(  # type: ignore[no-untyped-def]
    queries, passages, order, language, query, threshold, position, listed, found, above,
    start, width, languages, capacity, COSINE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count what `count_above` has listed by its float64 score. However much it is, the same programs share it.

    Args:
        queries, passages: floats. (Q, width), (C, width)
        order, listed, languages, capacity: the arguments of `count_above`.
        language: int32 language of each passage. (C,)
        query, threshold, position: int64 query, and float64 score and int64 corpus position of the relevant passage, of
            each pair. (N,)
        found: int64 number of what is listed, and whether the inputs were sound; else nothing is settled. (2,)
        above: int64 counts, added to. (N, languages)
        start: corpus position of the first passage.
    """
    # Where inputs are not sound, bands may reach to minus infinity. Then places past the last passage are listed, too.
    number = tl.where(tl.load(found + 1) != 0, tl.minimum(tl.load(found), capacity), 0)
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    for first in range(tl.program_id(0).to(tl.int64) * BLOCK, number, step):
        n = first + tl.arange(0, BLOCK)
        pair = tl.load(listed + 2 * n, mask=n < number, other=0)  # (BLOCK,)
        masked = tl.load(listed + 2 * n + 1, mask=n < number, other=0)
        mask = (masked & (_ONE - 1)).to(tl.int32)
        q = tl.load(query + pair)
        limit, relevant = tl.load(threshold + pair), tl.load(position + pair)
        while tl.max(mask, axis=0) > 0:  # nearly always once
            lowest = mask & -mask  # its lowest bit, whose number is the exponent of the float32
            held = mask > 0
            column = _APART * ((lowest.to(tl.float32).to(tl.int32, bitcast=True) >> 23) - 127)
            row = tl.where(held, (masked >> 32) + column, 0)
            if order is not None:
                row = tl.load(order + row).to(tl.int64)
            score = _score(queries, passages, q, row, held, width, COSINE)
            higher = held & ((score > limit) | ((score == limit) & (start + row < relevant)))
            counts = above + pair * languages + tl.load(language + row)
            tl.atomic_add(counts, tl.full((BLOCK,), 1, tl.int64), mask=higher, sem="relaxed")
            mask -= lowest


@triton.jit(do_not_specialize=["start", "number_of_pairs", "number_of_rows", "languages"])
def take_off_own(  # type: ignore[no-untyped-def]
    queries, passages, language, query, threshold, position, above,
    start, number_of_pairs, number_of_rows, width, languages, COSINE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take each pair's own passage off its count, which holds it if it scores higher here than as a relevant one.

    It may do so where a chunk holds another vector than was given before, for example of a text encoded twice. The
    arguments are those of `settle`.
    """
    pair = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # (BLOCK,)
    row = tl.load(position + pair, mask=pair < number_of_pairs, other=-1) - start
    held = (pair < number_of_pairs) & (row >= 0) & (row < number_of_rows)
    if tl.max(held.to(tl.int32), axis=0) > 0:
        q = tl.load(query + pair, mask=held, other=0)
        score = _score(queries, passages, q, row, held, width, COSINE)
        higher = held & (score > tl.load(threshold + pair, mask=held, other=0.0))
        counts = above + pair * languages + tl.load(language + row, mask=held, other=0)
        tl.atomic_add(counts, tl.full((BLOCK,), -1, tl.int64), mask=higher, sem="relaxed")


@triton.jit
def _score(queries, passages, q, p, held, width, COSINE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return float64 scores, bit by bit those of `hybridlib.metric.cpu.kernels.score`; anything where not `held`."""
    lane = tl.arange(0, 32)
    q_rows, p_rows = queries + q[:, None] * width + lane[None, :], passages + p[:, None] * width + lane[None, :]
    products = tl.zeros((q.shape[0], 32), dtype=tl.float64)
    squares = tl.zeros((q.shape[0], 32), dtype=tl.float64)
    for d in tl.range(0, width, 32, loop_unroll_factor=8):  # so that much is on its way from memory at once
        inside = held[:, None] & (d + lane < width)[None, :]
        q_part = _wide(tl.load(q_rows + d, mask=inside, other=0.0))
        p_part = _wide(tl.load(p_rows + d, mask=inside, other=0.0))
        products += q_part * p_part
        if COSINE:
            squares += p_part * p_part
    score = _sum_of_neighbours(products)
    if COSINE:
        norm = tl.sqrt(_sum_of_neighbours(squares))
        score /= tl.where(norm == 0, 1.0, norm)
    return score


@triton.jit
def _sum_of_neighbours(partial):  # type: ignore[no-untyped-def]
    """Add neighbours until one is left; the order in which `tl.sum` adds is not documented. (n, 32) -> (n,)"""
    for halvings in tl.static_range(5):
        even, odd = tl.split(tl.reshape(partial, (partial.shape[0], 16 >> halvings, 2)))
        partial = even + odd
    return tl.reshape(partial, (partial.shape[0],))


@triton.jit
def _wide(values):  # type: ignore[no-untyped-def]
    if values.dtype == tl.float64:
        return values
    return values.to(tl.float32).to(tl.float64)
