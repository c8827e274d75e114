"""Kernel of a GPU that makes float16 parts of rows, their norms, and the norms of what the parts leave out.

It is compiled by Triton for CUDA at its first call. Under `TRITON_INTERPRET=1` it runs on the CPU, slowly, for tests.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["number"])
def split(  # type: ignore[no-untyped-def]
    rows, parts, norms, shrink, left_out, number, width, padded,
    PARTS: tl.constexpr, WIDE: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write the norm of each row and, of the row times a power of two, float16 parts filled up with zeros.

    The power of two makes a norm from 2^14 to 2^15. Each row comes from memory once: it is read again, for its parts,
    from the cache.

    Args:
        rows: floats. (number, width)
        parts: float16, written: the high part and, if `PARTS` is 2, the low part. (number, PARTS * padded)
        norms: float64, written. (number,)
        shrink: float64, written: 1 over the power of two. (number,)
        left_out: float64, written: the norm of what the high part leaves out, as a share of the row's. (number,)
        padded: columns of a part.
        PARTS: 0, 1 or 2. Without parts, only `norms` are written.
        WIDE: compute in float64. Else float32 must hold all that matters: `hybridlib.metric.gpu.inputs.are_ordinary`.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)  # (BLOCK_R,)
    column = tl.arange(0, BLOCK_D)[None, :]
    exists = row < number
    given = rows + row[:, None] * width + column
    sums = tl.zeros((BLOCK_R, BLOCK_D), dtype=tl.float64 if WIDE else tl.float32)
    for start in range(0, width, BLOCK_D):
        values = _floats(tl.load(given + start, mask=exists[:, None] & (column + start < width), other=0.0), WIDE)
        sums += values * values
    total = tl.sum(sums.to(tl.float64), axis=1)  # (BLOCK_R,)
    tl.store(norms + row, tl.sqrt(total), mask=exists)

    if PARTS > 0:
        positive = tl.where(total == 0, 1.0, total)
        # A float64 is 2^(e - 1023) times a number from 1 to 2, where e is in its bits 52 to 62. So a sum of squares is
        # 4^half times a number from 1 to 4.
        half = ((positive.to(tl.int64, bitcast=True) >> 52) - 1023) >> 1
        back = ((1023 - 14 + half) << 52).to(tl.float64, bitcast=True)
        tl.store(shrink + row, back, mask=exists)
        scale = ((1023 + 14 - half) << 52).to(tl.float64, bitcast=True)
        if not WIDE:
            scale = scale.to(tl.float32)
        sums = tl.zeros((BLOCK_R, BLOCK_D), dtype=tl.float32)
        written = parts + row[:, None] * (PARTS * padded) + column
        for start in range(0, padded, BLOCK_D):
            values = _floats(tl.load(given + start, mask=exists[:, None] & (column + start < width), other=0.0), WIDE)
            scaled = values * scale[:, None]
            high = scaled.to(tl.float32).to(tl.float16)
            rest = (scaled - _floats(high, WIDE)).to(tl.float32)
            inside = exists[:, None] & (column + start < padded)
            tl.store(written + start, high, mask=inside)
            if PARTS == 2:
                tl.store(written + padded + start, rest.to(tl.float16), mask=inside)
            sums += rest * rest
        tl.store(left_out + row, tl.sqrt(tl.sum(sums.to(tl.float64), axis=1) / positive) * back, mask=exists)


@triton.jit
def _floats(values, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    if values.dtype != tl.float64:
        values = values.to(tl.float32)
    if WIDE:
        values = values.to(tl.float64)
    return values
