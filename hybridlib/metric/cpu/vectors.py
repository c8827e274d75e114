"""Instructions of the CPU that numba has no words for: comparisons that give masks of bits, and prefetches.

The cache of numba does not see a change in this file, only in the one of the kernels that call it.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# The type of `intrinsic` counts the context, which numba gives, among the arguments of a call.
_instruction: Any = intrinsic
# Scores that are compared at once: each is one bit of a mask.
BLOCK = 64

_BITS, _FLAG = ir.IntType(BLOCK), ir.IntType(1)
_VECTOR = ir.VectorType(ir.FloatType(), BLOCK)


@_instruction
def compare(_: Any, scores: Any, left: Any, low: Any, high: Any) -> Any:
    """Return how many of `BLOCK` scores are `low` or more, and the mask of those that are `high` or less besides.

    Args:
        scores: float32, (p,)
        left: the first of them; `BLOCK` are read.
        low: ()
        high: ()
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, given[0])
        pointer = builder.bitcast(builder.gep(array.data, [given[1]]), _VECTOR.as_pointer())
        block = builder.load(pointer)
        block.align = 4
        reach = builder.fcmp_ordered(">=", block, _repeated(builder, given[2]))
        inside = builder.and_(reach, builder.fcmp_ordered("<=", block, _repeated(builder, given[3])))
        number = builder.ctpop(builder.bitcast(reach, _BITS))
        return context.make_tuple(builder, signature.return_type, [number, builder.bitcast(inside, _BITS)])

    return types.Tuple((types.int64, types.uint64))(scores, left, low, high), generate


@_instruction
def first_bit(_: Any, mask: Any) -> Any:
    """Return the place of the lowest bit that is set in a mask; there must be one."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
        return builder.cttz(given[0], _FLAG(1))

    return types.int64(types.uint64), generate


@_instruction
def prefetch(_: Any, matrix: Any, row: Any, column: Any) -> Any:
    """Ask for the memory of a number, which will be read soon. (R, D), (), ()"""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, given[0])
        place = cgutils.get_item_pointer(context, builder, signature.args[0], array, given[1:])
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        # To be read, kept in all caches, as data.
        builder.call(function, [builder.bitcast(place, pointer), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(matrix, row, column), generate


def _repeated(builder: ir.IRBuilder, number: Any) -> Any:
    """Return a vector that holds a number `BLOCK` times."""
    nothing, first = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
    return builder.shuffle_vector(builder.insert_element(nothing, number, ir.IntType(32)(0)), nothing, first)
