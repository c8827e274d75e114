"""The kernels of the GPU by themselves: their numbers, and the programs that they are compiled to."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from slow_ranks import DEVICE, DTYPES, draw_tensor, slow_sums

from hybridlib.metric.counts import RelevantPairs
from hybridlib.metric.cpu.kernels import norms_of, pair_scores
from hybridlib.metric.gpu.counts import _INTERPRETED, GpuCounts
from hybridlib.metric.gpu.inputs import float16_parts, inner_products
from hybridlib.metric.gpu.kernels import count_above


@pytest.mark.parametrize("dtypes", [*((dtype, dtype) for dtype in DTYPES), *zip(DTYPES, DTYPES[::-1], strict=True)])
@pytest.mark.parametrize("dimensions", [1, 31, 32, 33, 100])
def test_inner_products_are_those_of_the_cpu_to_the_last_bit(dimensions, dtypes):
    rng = np.random.default_rng(dimensions)
    q, p = (draw_tensor(rng, 23, dimensions, "normal", dtype) for dtype in dtypes)
    left, right = (torch.from_numpy(rng.integers(0, 23, 45)) for _ in range(2))
    ours = inner_products(*(x.to(DEVICE) for x in (q, p, left, right))).cpu().numpy()
    theirs = pair_scores(q.double().numpy(), p.double().numpy(), np.ones(23), left.numpy(), right.numpy())
    np.testing.assert_array_equal(ours.view(np.int64), theirs.view(np.int64))
    slow = slow_sums((q.double()[left] * p.double()[right]).numpy())
    np.testing.assert_array_equal(ours.view(np.int64), slow.view(np.int64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dimensions", [1, 16, 130])
def test_numbers_are_split_into_parts_and_filled_up_with_zeros(dimensions, dtype):
    rng = np.random.default_rng(dimensions)
    rows = draw_tensor(rng, 19, dimensions, "normal", dtype)
    scales = torch.from_numpy(2.0**15 / np.linalg.norm(rows.double(), axis=1))
    parts = float16_parts(rows.to(DEVICE), scales.to(DEVICE), 16).cpu().numpy()
    padded = -(-dimensions // 16) * 16
    scaled = np.pad(rows.double().numpy() * scales.numpy()[:, None], ((0, 0), (0, padded - dimensions)))
    high = scaled.astype(np.float32).astype(np.float16)
    low = (scaled - high.astype(float)).astype(np.float32).astype(np.float16)
    np.testing.assert_array_equal(parts, np.hstack([high, low]))
    assert np.abs(high).max() < 40_000  # no part overflows


def test_settled_scores_are_those_of_the_cpu_to_the_last_bit():
    # If one square root in seventy were rounded wrongly, as torch does on a CPU, some of these 500 scores would be off.
    q, p = (torch.from_numpy(np.random.default_rng(rows).standard_normal((rows, 5))) for rows in (1, 500))
    zero = np.zeros(1, dtype=int)
    counts = GpuCounts(RelevantPairs(q, p[:1], zero, zero, zero, languages=1, cosine=True), device=DEVICE)
    query, row = (torch.zeros(500, dtype=torch.int64, device=DEVICE), torch.arange(500, device=DEVICE))
    expected = pair_scores(q.numpy(), p.numpy(), norms_of(p.numpy()), query.cpu().numpy(), row.cpu().numpy())
    assert counts._scores(query, p.to(DEVICE), row).tolist() == expected.tolist()


def test_rows_further_than_two_to_the_31_numbers_are_read_rightly():
    # Memory that is not touched is not taken. The last five rows have the scores 0 to 4.
    rows, first = torch.empty(2**27 + 5, 16, dtype=torch.float16, device=DEVICE), 2**27
    rows[first:] = torch.arange(5)[:, None] / 16
    table = [torch.tensor(values, device=DEVICE) for values in ([[first, first + 5, 0]], [0, 1], [1])]
    low, high = (torch.tensor([value], device=DEVICE) for value in (1.5, 2.5))
    above, near = (torch.zeros(1, dtype=torch.int64, device=DEVICE) for _ in range(2))
    pair, row = (torch.zeros(4, dtype=torch.int64, device=DEVICE) for _ in range(2))
    one = torch.ones(1, 16, dtype=torch.float16, device=DEVICE)
    tile = {"BLOCK_Q": 16, "BLOCK_P": 16, "BLOCK_K": 16}
    count_above[(1,)](
        one, rows, one, *table, low, high, above, pair, row, near, 1, 1, 16, 16, 1, 4,
        SCALED=False, PRODUCTS=1, WIDENED=_INTERPRETED, **tile,
    )  # fmt: skip
    assert (above.tolist(), near.tolist(), row.tolist()) == ([2], [1], [first + 2, 0, 0, 0])
    zero, last = (torch.tensor([n], device=DEVICE) for n in (0, first + 4))
    assert inner_products(one, rows, zero, last).tolist() == [4.0]


# Kernels are compiled here without a GPU. They must not ask for memory that the smallest GPU does not have.

COMPILE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hybridlib.metric.gpu import counts as gpu_counts, inputs as gpu_inputs, kernels

LONGS = "tiles first_pair most_pairs above near_pair near_row near left_row right_row"
POINTERS = {name: "*i64" for name in LONGS.split()}
POINTERS |= {"inverse_norms": "*fp32", "low": "*fp32", "high": "*fp32", "products": "*fp64", "right": "*bf16"}


def compiled(kernel, half, capability, options, **constants):
    pointers = POINTERS | dict.fromkeys(("queries", "passages", "left"), "*" + half)
    types = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in kernel.arg_names}
    # Addresses are multiples of 16, and so are widths: Triton specialises its kernels for those, and for ones.
    even = [n for n in types if types[n][0] == "*" or n in ("width", "stride")]
    attributes = {(kernel.arg_names.index(n),): [["tt.divisibility", 16]] for n in even}
    source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


capability = int(sys.argv[1])
for half, constants in (
    ("fp16", {"SCALED": False, "PRODUCTS": 3}),
    ("bf16", {"SCALED": True, "PRODUCTS": 1, "languages": 1, "query_blocks": 1}),
):
    constants |= {"WIDENED": False, **gpu_counts.TILE}
    made = compiled(kernels.count_above, half, capability, gpu_counts._COMPILED, **constants)
    assert "cubin" in made.asm
    print(made.metadata.shared, made.asm["ptx"].count("wgmma.mma_async"), made.asm["ptx"].count("mma.sync"))
made = compiled(kernels.inner_products, "fp64", capability, {"enable_fp_fusion": False}, BLOCK=gpu_inputs._BLOCK)
print(made.asm["ptx"].count("fma.rn.f64"), made.asm["ptx"].count("mul.rn.f64"), made.asm["ptx"].count("add.rn.f64"))
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
    *counting_kernels, inner_products = (tuple(map(int, line.split())) for line in output.splitlines())
    assert len(counting_kernels) == 2
    for shared, hopper, ampere in counting_kernels:
        assert 0 < shared <= kilobytes * 1024
        assert (hopper > 0, ampere > 0) == (capability == 90, capability < 90)
    fused, multiplied, added = inner_products
    assert fused == 0  # which would round once where the CPU rounds twice
    assert multiplied > 0
    assert added > 0
