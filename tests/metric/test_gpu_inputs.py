"""What the counting kernel is given: parts of rows, norms, and the scores between which a passage must be settled."""

import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from slow_ranks import DEVICE, DTYPES, HALVES, draw_tensor, slow_scores

from hybridlib.metric.gpu import inputs as gpu
from hybridlib.metric.gpu.inputs import QueryInputs, float16_parts, norms_of

BLOCK = 16  # dimensions that the counting kernel takes at a time


def slow_parts(rows, columns):
    """Split rows as float16 parts are defined: a power of two makes the norm 2^14 or more, and less than 2^15."""
    rows = rows.double().numpy()
    norms = np.linalg.norm(rows, axis=1)
    norms[norms == 0] = 1
    scaled = np.pad(rows * 2.0 ** (15 - np.frexp(norms)[1])[:, None], ((0, 0), (0, columns - rows.shape[1])))
    high = scaled.astype(np.float32).astype(np.float16)
    rest = scaled - high.astype(float)
    return high, rest.astype(np.float32).astype(np.float16), np.linalg.norm(rest, axis=1), norms


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dimensions", [1, 16, 130, 1030])
def test_rows_are_split_into_parts_and_filled_up_with_zeros(dimensions, dtype, wide):
    rows = draw_tensor(np.random.default_rng(dimensions), 19, dimensions, "any norm" if wide else "normal", dtype)
    columns = -(-dimensions // BLOCK) * BLOCK
    high, low, left_out, norms = slow_parts(rows, columns)
    assert np.abs(high).max() < 40_000  # no part overflows
    for products, expected in ((1, high), (3, np.hstack([high, low]))):
        made = float16_parts(rows.to(DEVICE), products, BLOCK, wide=wide)
        np.testing.assert_array_equal(made.parts.cpu().numpy(), expected)
        np.testing.assert_array_equal(made.shrink.cpu().numpy(), 2.0 ** (np.frexp(norms)[1] - 15))
        # Two squares, or three of the longest rows, are rounded and summed in float32 before float64 takes over.
        np.testing.assert_allclose(made.norms.cpu().numpy(), norms, rtol=1.5 * 2.0**-24)
        np.testing.assert_allclose(made.left_out.cpu(), left_out * 2.0 ** (np.frexp(norms)[1] - 15) / norms, rtol=1e-6)
    found = norms_of(rows.to(DEVICE), wide=wide).cpu().numpy()
    np.testing.assert_allclose(np.where(found == 0, 1, found), norms, rtol=1.5 * 2.0**-24)


def rounded_down(rng, rows, dimensions):
    """Draw rows of numbers just below the middle between two float16 numbers, of which the most is left out."""
    return torch.from_numpy(rng.choice([-1.0, 1.0], (rows, dimensions)) * (1 + 0.999 * 2.0**-11))


def cases(dtype, other, dimensions):
    """Draw queries and passages; some of the passages, and of their scores, are almost those of others."""
    rng = np.random.default_rng(dimensions)
    q = draw_tensor(rng, 7, dimensions, "normal", dtype)
    uneven = 10.0 ** torch.from_numpy(rng.uniform(-30, 0, (5, dimensions)))
    uneven[:, 0] = 1
    near = q[:1].double() * (1 + 1e-3 * torch.from_numpy(rng.standard_normal((20, dimensions))))
    p = torch.cat(
        [draw_tensor(rng, 20, dimensions, "normal", other).double(), near, rounded_down(rng, 5, dimensions), uneven]
    )
    return q, (p * 10.0 ** torch.from_numpy(rng.integers(-1, 2, (len(p), 1)))).to(other)


def kernel_scores(inputs):
    """Score as the counting kernel does, but the products are summed by a library. (Q, C)"""
    q, p = inputs.queries.float().cpu(), inputs.passages.float().cpu()
    half = q.shape[1] // 2
    scores = q @ p.T if inputs.products == 1 else q[:, half:] @ p[:, :half].T + q[:, :half] @ p[:, half:].T
    scores = scores if inputs.products == 1 else scores + q[:, :half] @ p[:, :half].T
    return (scores if inputs.inverse_norms is None else scores * inputs.inverse_norms.cpu()).numpy()


def taken(q, p, similarity, products=1, method="with_passages"):
    """Return the inputs where each pair of a query and a passage has the score of the pair as its threshold."""
    query = torch.arange(len(q)).repeat_interleave(len(p))
    threshold = torch.from_numpy(slow_scores(q.double(), p.double(), similarity).ravel())
    made = QueryInputs(q.to(DEVICE), query.to(DEVICE), cosine=similarity == "cosine", block=BLOCK)
    made._capability = None  # a CPU sums in `kernel_scores`, wherever the inputs are made
    return getattr(made, method)(p.to(DEVICE), threshold.to(DEVICE), products=products)


def listed(inputs, true):
    """Return which scores of each pair are neither surely better nor surely worse, and check those that are. (N, C)"""
    query = np.repeat(np.arange(len(true)), true.shape[1])
    scores, low, high = kernel_scores(inputs)[query], inputs.low.cpu().numpy(), inputs.high.cpu().numpy()
    better, worse = scores > high[:, None], scores < low[:, None]
    assert (true[query] > true.reshape(-1, 1))[better].all()
    assert (true[query] < true.reshape(-1, 1))[worse].all()
    return ~(better | worse)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("products", [1, 3])
@pytest.mark.parametrize("dimensions", [3, 32, 33, 200])
@pytest.mark.parametrize("dtypes", [*((dtype, dtype) for dtype in DTYPES), DTYPES[:2], DTYPES[1:3]])
def test_what_is_surely_better_or_worse_is_so(dtypes, dimensions, products, similarity):
    q, p = cases(*dtypes, dimensions)
    true = slow_scores(q.double(), p.double(), similarity)
    inputs = taken(q, p, similarity, products)
    assert bool(inputs.sound)
    assert inputs.low.isfinite().all()
    assert listed(inputs, true).mean() < 0.5  # and most are surely one or the other
    listed(taken(q, p, similarity, products, "with_any_passages"), true)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("products", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_norms_of_any_size_are_taken_in_float64_where_quick_ones_are_not_sound(dtype, products, similarity):
    rng = np.random.default_rng(3)
    q, p = (draw_tensor(rng, rows, 32, "any norm", dtype) for rows in (7, 40))
    assert not bool(taken(q, p, similarity, products).sound)
    inputs = taken(q, p, similarity, products, "with_any_passages")
    assert bool(inputs.sound)
    listed(inputs, slow_scores(q.double(), p.double(), similarity))


@pytest.mark.parametrize("bad", [0.0, 1e-30, 1e30, np.inf, np.nan])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_one_norm_that_is_not_ordinary_makes_the_inputs_unsound(dtype, bad):
    q, p = cases(dtype, dtype, 32)
    p[4] *= bad
    assert not bool(taken(q, p, "cosine").sound)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_goes_whole_unless_the_norm_is_that_of_subnormal_numbers(dtype):
    # The least normal float16 number is 2^-14. Tensor cores align subnormal ones as if they were as large.
    rows = torch.zeros(2, BLOCK, dtype=dtype)
    rows[:, 0] = 1
    for first, whole in ((1.0, True), (2.0**-13, True), (2.0**-15, False)):
        queries = rows.clone()
        queries[1, 0] = first
        made = QueryInputs(queries.to(DEVICE), torch.arange(2, device=DEVICE), cosine=True, block=BLOCK)
        assert made.go_whole(rows) is whole
        of_queries = QueryInputs(rows.to(DEVICE), torch.arange(2, device=DEVICE), cosine=True, block=BLOCK)
        threshold = torch.zeros(2, dtype=torch.float64, device=DEVICE)
        assert bool(of_queries.with_passages(queries.to(DEVICE), threshold, products=1).sound) is whole
    assert not made.go_whole(rows.float())
    assert not of_queries.go_whole(rows[:, 1:])


def test_fewer_scores_are_listed_where_less_is_left_out_than_the_worst_case():
    # Rounding normal numbers leaves out 0.42 of the worst case, which is 2^-11 of each vector. The sum can be off by a
    # tenth of it besides. So 0.47 as many are listed, beside the 1,600 relevant passages.
    rng = np.random.default_rng(1)
    q, p = (draw_tensor(rng, rows, 200, "normal", torch.float32) for rows in (4, 400))
    true, found = slow_scores(q.double(), p.double(), "cosine"), []
    for leaves_out in (gpu.left_out_bound, lambda query, passage: 0 * query + 2 * 2.0**-11):
        with mock.patch.object(gpu, "left_out_bound", leaves_out):
            found.append(listed(taken(q, p, "cosine"), true).sum() - true.size)
    assert 0 < found[0] < 0.55 * found[1]


# The kernel is compiled here without a GPU, for what a user splits most and for the widest numbers.

COMPILE = """
import re, subprocess, sys, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hybridlib.metric.gpu import inputs, parts

POINTERS = {"parts": "*fp16", "norms": "*fp64", "shrink": "*fp64", "left_out": "*fp64"}
for numbers, constants in (
    ("fp16", {"PARTS": 0, "WIDE": False, "parts": None}),
    ("fp32", {"PARTS": 1, "WIDE": False}),
    ("fp32", {"PARTS": 2, "WIDE": False}),
    ("fp64", {"PARTS": 2, "WIDE": True}),
):
    constants |= {"BLOCK_R": 1, "BLOCK_D": inputs._SPLIT_BLOCK}
    names, types = parts.split.arg_names, {"rows": "*" + numbers, **POINTERS}
    types = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    even = [name for name in types if types[name][0] == "*" or name in ("width", "padded")]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in even}
    source = ASTSource(fn=parts.split, signature=types, constexprs=constants, attrs=attributes)
    options = {"num_warps": inputs._SPLIT_WARPS}
    made = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(made.asm["cubin"])
        cubin.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", cubin.name]
        used = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(*re.search(r"REG:(\\d+) STACK:(\\d+)", used).groups(), made.asm["ptx"].count(".f64"))
"""


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_with_few_registers_and_spills_none(capability, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", COMPILE, str(capability)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(found) == 4
    for registers, stack, _ in found:
        assert registers <= 80
        assert stack == 0  # what is spilled would lie there
