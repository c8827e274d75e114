"""The kernels of the GPU by themselves: their numbers, and the programs that they are compiled to."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from slow_ranks import DEVICE, DTYPES, draw_tensor, slow_sums

from hybridlib.metric.counts import RelevantPairs
from hybridlib.metric.cpu.kernels import norms_of, pair_scores
from hybridlib.metric.gpu.counts import _INTERPRETED, _SCORED, GpuCounts
from hybridlib.metric.gpu.kernels import count_above, settle


def kernel_scores(q, p, query, row, *, cosine):
    """Score pairs of rows of q and p by the kernel, in float64."""
    zero = np.zeros(1, dtype=int)
    counts = GpuCounts(RelevantPairs(q, p[:1], zero, zero, zero, languages=1, cosine=cosine), device=DEVICE)
    return counts._scores(*(x.to(DEVICE) for x in (query, p, row))).cpu().numpy()


@pytest.mark.parametrize("dtypes", [*((dtype, dtype) for dtype in DTYPES), *zip(DTYPES, DTYPES[::-1], strict=True)])
@pytest.mark.parametrize("dimensions", [1, 31, 32, 33, 100])
def test_inner_products_are_those_of_the_cpu_to_the_last_bit(dimensions, dtypes):
    rng = np.random.default_rng(dimensions)
    q, p = (draw_tensor(rng, 23, dimensions, "normal", dtype) for dtype in dtypes)
    left, right = (torch.from_numpy(rng.integers(0, 23, 45)) for _ in range(2))
    ours = kernel_scores(q, p, left, right, cosine=False)
    theirs = pair_scores(q.double().numpy(), p.double().numpy(), np.ones(23), left.numpy(), right.numpy())
    np.testing.assert_array_equal(ours.view(np.int64), theirs.view(np.int64))
    slow = slow_sums((q.double()[left] * p.double()[right]).numpy())
    np.testing.assert_array_equal(ours.view(np.int64), slow.view(np.int64))


def test_settled_scores_are_those_of_the_cpu_to_the_last_bit():
    # If one square root in seventy were rounded wrongly, as torch does on a CPU, some of these 500 scores would be off.
    q, p = (torch.from_numpy(np.random.default_rng(rows).standard_normal((rows, 5))) for rows in (1, 500))
    query, row = torch.zeros(500, dtype=torch.int64), torch.arange(500)
    expected = pair_scores(q.numpy(), p.numpy(), norms_of(p.numpy()), query.numpy(), row.numpy())
    assert kernel_scores(q, p, query, row, cosine=True).tolist() == expected.tolist()


def longs(*values):
    return (torch.tensor(value, dtype=torch.int64, device=DEVICE) for value in values)


def count_tiles(rows, tiles, band, *, capacity, order=None, above=(0, 0), block_p=256):
    """Count rows for a query of ones with one pair; return the counts of two languages, the list and its number."""
    one = torch.ones(1, 16, dtype=torch.float16, device=DEVICE)
    tiles, first, most, above, found = longs(tiles, [0, 1], [1], [above], [0])
    low, high = (torch.tensor([end], device=DEVICE) for end in band)
    listed = torch.full((capacity + 3, 2), -1, dtype=torch.int64, device=DEVICE)
    count_above[(len(tiles),)](
        one, rows, None, order, tiles, first, most, low, high, above, listed, found, 1, 1, 16, 16, 2, capacity,
        PRODUCTS=1, WIDENED=_INTERPRETED, BLOCK_Q=16, BLOCK_P=block_p, BLOCK_K=16,
    )  # fmt: skip
    return above.cpu().tolist(), listed.cpu().numpy(), found.item()


def places(listed):
    """Return the places that masks stand for, ascending."""
    bits = (listed[:, 1, None] >> np.arange(16)) & 1  # (n, 16)
    return np.sort(((listed[:, 1, None] >> 32) + 16 * np.arange(16))[bits == 1]).tolist()


def sixteenths(values):
    """Make rows of 16 equal numbers, whose inner products with ones are the values."""
    return (torch.tensor(values)[:, None] / 16).expand(-1, 16).to(torch.float16).to(DEVICE).contiguous()


def test_a_tile_whose_scores_all_lie_in_the_band_is_listed_by_full_masks():
    # 250 of 256 places: the masks of the first ten columns have 16 bits, and those of the other six 15.
    above, listed, number = count_tiles(sixteenths([2.0] * 250), [[0, 250, 1]], (1.5, 2.5), capacity=16)
    assert (above, number, places(listed[:16])) == ([[0, 0]], 16, list(range(250)))
    assert sorted(bin(mask & 0xFFFF).count("1") for mask in listed[:16, 1].tolist()) == [15] * 6 + [16] * 10
    assert (listed[16:] == -1).all()


@pytest.mark.parametrize("capacity", [0, 1, 7, 15])
def test_a_list_that_overflows_in_the_middle_counts_on_and_is_not_written_past_its_end(capacity):
    _, listed, number = count_tiles(sixteenths([2.0] * 250), [[0, 250, 0]], (1.5, 2.5), capacity=capacity)
    assert (number, (listed[:capacity] >= 0).all(), (listed[capacity:] == -1).all()) == (16, True, True)


@pytest.mark.parametrize("block_p", [16, 32, 256])
def test_tiles_are_read_in_the_order_of_languages_and_empty_ones_are_passed_over(block_p):
    # Even rows are of language 0. Scores below 40 are worse, above 60 better, and those between are listed.
    values = np.random.default_rng(0).permutation(101)
    order = np.argsort(np.arange(101) % 2, kind="stable")
    ends = [*range(0, 51, block_p), 51], [*range(51, 101, block_p), 101]
    tiles = [[a, b, n] for n in range(2) for a, b in itertools.pairwise(ends[n])] + [[0, 0, 0], [101, 101, 1]]
    by_place = torch.from_numpy(order).int().to(DEVICE)
    rows = sixteenths(values.astype(np.float32))
    above, listed, number = count_tiles(
        rows, tiles, (39.5, 60.5), capacity=99, order=by_place, above=(1, 2), block_p=block_p
    )
    better = [int((values[start::2] > 60).sum()) for start in range(2)]
    assert above == [[1 + better[0], 2 + better[1]]]
    between = np.flatnonzero((values[order] >= 40) & (values[order] <= 60))
    assert places(listed[:number]) == between.tolist()


def test_no_score_of_a_row_that_will_be_refused_is_listed_for_a_query_without_a_pair():
    # Scores of infinity are in no band where there is none. What is listed there has no query, and would be read.
    rows = torch.full((16, 16), torch.inf, dtype=torch.float16, device=DEVICE)
    one = torch.ones(2, 16, dtype=torch.float16, device=DEVICE)
    tiles, first, most, above, found = longs([[0, 16, 0]], [0, 0, 1], [1], [[0]], [0])
    low, high, listed = torch.zeros(1, device=DEVICE), torch.ones(1, device=DEVICE), torch.zeros_like(tiles)
    count_above[(1,)](
        one, rows, None, None, tiles, first, most, low, high, above, listed, found, 2, 1, 16, 16, 1, 0,
        PRODUCTS=1, WIDENED=_INTERPRETED, BLOCK_Q=16, BLOCK_P=16, BLOCK_K=16,
    )  # fmt: skip
    assert (above.item(), found.item()) == (16, 0)


@pytest.mark.parametrize(("ordered", "sound"), [(False, 1), (True, 1), (True, 0)])
@pytest.mark.parametrize("number", [0, 1, 15, 16, 17, 33, 40])
def test_what_is_listed_is_settled_by_several_programs_if_the_inputs_were_sound(number, ordered, sound):
    # Masks of one bit, of the last bit alone, of all and of none, of 256 rows in three languages, a third of them tied.
    rng = np.random.default_rng(number)
    q, p = rng.standard_normal((4, 5)), rng.standard_normal((256, 5))[rng.integers(0, 90, 256)]
    query, own, language = np.sort(rng.integers(0, 4, 9)), rng.integers(0, 256, 9), rng.integers(0, 3, 256)
    order = rng.permutation(256) if ordered else np.arange(256)
    pair, column = rng.integers(0, 9, number), rng.integers(0, 16, number)
    mask = rng.choice([1, 1 << 15, 0xFFFF, 0x8421, 0], number)
    scores = np.array([[slow_sums((a * b)[None])[0] for b in p] for a in q])
    above, threshold = np.zeros((9, 3), dtype=int), scores[query, own]
    for n, j, bits in zip(pair, column, mask, strict=True):
        for row in (order[j + 16 * i] for i in range(16) if bits >> i & 1):
            score = scores[query[n], row]
            above[n, language[row]] += score > threshold[n] or (score == threshold[n] and row < own[n])
    tensors = [torch.from_numpy(x).to(DEVICE) for x in (q, p, order.astype(np.int32), language.astype(np.int32))]
    of_pairs = [torch.from_numpy(x).to(DEVICE) for x in (query, threshold, own + 1000)]
    listed, found, counts = longs(np.column_stack([pair, (column << 32) | mask]), [number + 5, sound], np.zeros((9, 3)))
    tensors[2] = tensors[2] if ordered else None
    settle[(3,)](*tensors, *of_pairs, listed, found, counts, 1000, 5, 3, number, COSINE=False, **_SCORED)
    np.testing.assert_array_equal(counts.cpu(), above * sound)


def test_rows_further_than_two_to_the_31_numbers_are_read_rightly():
    # Memory that is not touched is not taken. The last five rows have the scores 0 to 4.
    rows, first = torch.empty(2**27 + 5, 16, dtype=torch.float16, device=DEVICE), 2**27
    rows[first:] = torch.arange(5)[:, None] / 16
    above, listed, number = count_tiles(rows, [[first, first + 5, 0]], (1.5, 2.5), capacity=4, block_p=16)
    assert (above, number, places(listed[:1])) == ([[2, 0]], 1, [first + 2])
    one = torch.ones(1, 16, dtype=torch.float16)
    zero, last = (torch.tensor([n]) for n in (0, first + 4))
    assert kernel_scores(one, rows, zero, last, cosine=False).tolist() == [4.0]


# Kernels are compiled here without a GPU. They must not ask for memory that the smallest GPU does not have.

COMPILE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hybridlib.metric.gpu import counts as gpu_counts, kernels

LONGS = "tiles first_pair most_pairs above listed found query position row"
POINTERS = {name: "*i64" for name in LONGS.split()}
POINTERS |= {"inverse_norms": "*fp32", "low": "*fp32", "high": "*fp32", "order": "*i32", "language": "*i32"}
POINTERS |= {"threshold": "*fp64", "scores": "*fp64"}


def compiled(kernel, left, right, capability, options, **constants):
    pointers = POINTERS | {"queries": "*" + left, "passages": "*" + right}
    types = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in kernel.arg_names}
    # Addresses are multiples of 16, and so are widths: Triton specialises its kernels for those, and for ones.
    even = [n for n in types if types[n][0] == "*" or (n in ("width", "stride") and n not in constants)]
    attributes = {(kernel.arg_names.index(n),): [["tt.divisibility", 16]] for n in even}
    source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=attributes)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert "cubin" in made.asm
    return made


capability = int(sys.argv[1])
for half, constants in (
    ("fp16", {"inverse_norms": None, "order": None, "PRODUCTS": 3}),
    ("bf16", {"PRODUCTS": 1, "languages": 1, "query_blocks": 1}),
):
    constants |= {"WIDENED": False, **gpu_counts.TILE}
    made = compiled(kernels.count_above, half, half, capability, gpu_counts._COMPILED, **constants)
    ptx = made.asm["ptx"]
    print(made.metadata.shared, ptx.count("wgmma.mma_async"), ptx.count("mma.sync"), ptx.count(".acq_rel"))
options = {"enable_fp_fusion": gpu_counts._SCORED["enable_fp_fusion"]}
block = gpu_counts._SCORED["BLOCK"]
for kernel, constants in (
    (kernels.settle, {}),
    (kernels.score_pairs, {"width": 1}),
    (kernels.take_off_own, {}),
):
    ptx = compiled(kernel, "fp64", "bf16", capability, options, COSINE=True, BLOCK=block, **constants).asm["ptx"]
    print(*(ptx.count(f"{name}.rn.f64") for name in ("fma", "mul", "add", "sqrt", "div")))
"""


@pytest.fixture(scope="module")
def compilers(tmp_path_factory):
    """Processes that compile, without the interpreter, which would be compiled in place of the kernels."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    command = [sys.executable, "-c", COMPILE]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    made = {capability: subprocess.Popen([*command, str(capability)], **pipes) for capability in (80, 90)}
    yield made
    for process in made.values():
        process.kill()
        process.communicate()


# Shared memory that a program may have, by CUDA's programming guide. Compute capability 8.0 has 163 KB, but kernels are
# as large on 8.6, 8.9 and 12.0, which have 99.
@pytest.mark.parametrize(("capability", "kilobytes"), [(80, 99), (90, 227)])
def test_kernels_compile_for_tensor_cores_and_fit_in_their_memory(capability, kilobytes, compilers):
    output, errors = compilers[capability].communicate()
    assert compilers[capability].returncode == 0, errors
    lines = [tuple(map(int, line.split())) for line in output.splitlines()]
    assert len(lines) == 5
    for shared, hopper, ampere, ordered in lines[:2]:
        assert 0 < shared <= kilobytes * 1024
        assert (hopper > 0, ampere > 0) == (capability == 90, capability < 90)
        assert ordered == 0  # additions that would wait for all of memory
    for fused, *others in lines[2:]:
        assert fused == 0  # which would round once where the CPU rounds twice
        assert all(number > 0 for number in others)  # each rounded to nearest
