"""Vectors in numba code: sixteen floats or integers as one value, with +, -, *, /, and the few functions flow needs.

LLVM does not turn the loops of TV-L1 into vector code by itself: a fused sweep reads and writes a dozen rows that it
cannot prove apart, a bicubic warp jumps about, and a median of 25 is too long a body. So the kernels say what is a
vector. On a processor without AVX-512 LLVM splits each into two or four.

`a * b + c` may become one fused multiply-add; nothing else is reordered, so a kernel gives the same bits on one machine
whatever the number of threads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, overload, register_model

LANES = 16


class Vector(types.Type):
    """The numba type of `lanes` elements (float32 or int32) in registers."""

    def __init__(self, element: types.Type, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element}, {lanes})")


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, _llvm_type(vector))


def _llvm_type(vector: Vector) -> ir.VectorType:
    element = ir.FloatType() if vector.element == types.float32 else ir.IntType(32)
    return ir.VectorType(element, vector.lanes)


floats = Vector(types.float32, LANES)
integers = Vector(types.int32, LANES)
four_floats = Vector(types.float32, 4)


def _of_vectors(operation: Callable[..., Any]) -> Any:
    """An intrinsic of vectors of one type, from what it emits."""

    def typed(context: Any, *vectors: Any) -> Any:
        if not isinstance(vectors[0], Vector) or any(v != vectors[0] for v in vectors):
            return None
        return vectors[0](*vectors), lambda ctx, builder, signature, values: operation(builder, *values)

    return typed


def _contracting(name: str) -> Callable[..., Any]:
    return lambda builder, a, b: getattr(builder, name)(a, b, flags=("contract",))


@intrinsic
def _add(context: Any, a: Any, b: Any) -> Any:
    if a == integers:
        return _of_vectors(lambda builder, a, b: builder.add(a, b))(context, a, b)
    return _of_vectors(_contracting("fadd"))(context, a, b)


@intrinsic
def _sub(context: Any, a: Any, b: Any) -> Any:
    return _of_vectors(_contracting("fsub"))(context, a, b)


@intrinsic
def _mul(context: Any, a: Any, b: Any) -> Any:
    if a == integers:
        return _of_vectors(lambda builder, a, b: builder.mul(a, b))(context, a, b)
    return _of_vectors(_contracting("fmul"))(context, a, b)


@intrinsic
def _div(context: Any, a: Any, b: Any) -> Any:
    return _of_vectors(_contracting("fdiv"))(context, a, b)


def _overload(sign: Callable[..., Any], vectors: Callable[..., Any]) -> None:
    def operation(a: Any, b: Any) -> Any:
        return vectors(a, b)

    def typed(a: Any, b: Any) -> Any:
        return operation if isinstance(a, Vector) else None

    overload(sign)(typed)


for _sign, _vectors in ((operator.add, _add), (operator.sub, _sub), (operator.mul, _mul), (operator.truediv, _div)):
    _overload(_sign, _vectors)


def _llvm_function(name: str) -> Callable[..., Any]:
    """Emits a call of one of LLVM's own functions of one vector of floats."""

    def operation(builder: Any, a: Any) -> Any:
        kind = ir.FunctionType(a.type, [a.type])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{a.type.count}f32")
        return builder.call(function, [a])

    return operation


@intrinsic
def least(context: Any, a: Any, b: Any) -> Any:
    """The smaller in every lane; `b` where `a` is not a number."""
    return _of_vectors(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))(context, a, b)


@intrinsic
def most(context: Any, a: Any, b: Any) -> Any:
    """The larger in every lane; `b` where `a` is not a number."""
    return _of_vectors(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))(context, a, b)


@intrinsic
def root(context: Any, a: Any) -> Any:
    return _of_vectors(_llvm_function("sqrt"))(context, a)


@intrinsic
def floor(context: Any, a: Any) -> Any:
    return _of_vectors(_llvm_function("floor"))(context, a)


@intrinsic
def inverse_above(context: Any, a: Any, limit: Any) -> Any:
    """1 / a where a > limit, else 0."""

    def operation(builder: Any, a: Any, limit: Any) -> Any:
        one = ir.Constant(a.type, [1.0] * a.type.count)
        zero = ir.Constant(a.type, [0.0] * a.type.count)
        return builder.select(builder.fcmp_ordered(">", a, limit), builder.fdiv(one, a), zero)

    return _of_vectors(operation)(context, a, limit)


@intrinsic
def to_integers(context: Any, a: Any) -> Any:
    """Truncated to int32."""
    return integers(a), lambda ctx, builder, signature, values: builder.fptosi(values[0], _llvm_type(integers))


@intrinsic
def spread(context: Any, scalar: Any) -> Any:
    """A number in all lanes: float32 or int32, as it is."""
    vector = {types.float32: floats, types.int32: integers}[scalar]

    def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _splat(builder, values[0], _llvm_type(vector))

    return vector(scalar), codegen


def _splat(builder: Any, value: Any, kind: ir.VectorType) -> Any:
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), mask)


def _address(ctx: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: ir.VectorType) -> Any:
    data = ctx.make_array(array_type)(ctx, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _loading(vector: Vector) -> Any:
    def typed(context: Any, array: Any, index: Any) -> Any:
        def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> Any:
            address = _address(ctx, builder, signature.args[0], values[0], values[1], _llvm_type(vector))
            return builder.load(address, align=4)

        return vector(array, types.intp), codegen

    return typed


@intrinsic
def load(context: Any, array: Any, index: Any) -> Any:
    """`LANES` neighbours of a one-dimensional float32 array, from `index` on. Unchecked."""
    return _loading(floats)(context, array, index)


@intrinsic
def store(context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Writes a vector to a one-dimensional array, from `index` on. Unchecked."""

    def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> None:
        address = _address(ctx, builder, signature.args[0], values[0], values[1], _llvm_type(vector))
        builder.store(values[2], address, align=4)
        return ctx.get_dummy_value()

    return types.none(array, types.intp, vector), codegen


@intrinsic
def total(context: Any, a: Any) -> Any:
    """The sum of all lanes, float32, halves first: always in the same order."""

    def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> Any:
        (rest,) = values
        while rest.type.count > 1:
            half = rest.type.count // 2
            rest = builder.fadd(_lanes(builder, rest, range(half)), _lanes(builder, rest, range(half, 2 * half)))
        return builder.extract_element(rest, ir.Constant(ir.IntType(32), 0))

    return types.float32(a), codegen


@intrinsic
def fold(context: Any, a: Any) -> Any:
    """(a0 + a4 + a8 + a12, a1 + a5 + ..., ...): the sum of the four quarters of sixteen lanes, as four lanes."""

    def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> Any:
        halves = builder.fadd(_lanes(builder, values[0], range(8)), _lanes(builder, values[0], range(8, 16)))
        return builder.fadd(_lanes(builder, halves, range(4)), _lanes(builder, halves, range(4, 8)))

    return four_floats(a), codegen


def _lanes(builder: Any, vector: Any, lanes: Any) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


@intrinsic
def every_fourth(context: Any, a: Any, b: Any, c: Any, d: Any, first: Any) -> Any:
    """Lanes first, first + 4, ... of the 64 lanes of four vectors: one channel of sixteen pixels of four channels."""
    if not isinstance(first, types.IntegerLiteral):
        return None
    start = first.literal_value

    def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> Any:
        def join(x: Any, y: Any, lanes: list[int]) -> Any:
            return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))

        low = join(values[0], values[1], list(range(start, 32, 4)))
        high = join(values[2], values[3], list(range(start, 32, 4)))
        return join(low, high, list(range(16)))

    return floats(a, b, c, d, first), codegen


@intrinsic
def spread_at(context: Any, array: Any, index: Any) -> Any:
    """The float32 at `index` of a one-dimensional array, in all lanes. Unchecked."""

    def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = ctx.make_array(signature.args[0])(ctx, builder, values[0]).data
        return _splat(builder, builder.load(builder.gep(data, [values[1]])), _llvm_type(floats))

    return floats(array, types.intp), codegen


@intrinsic
def count_up(context: Any, start: Any) -> Any:
    """start, start + 1, ... as floats."""

    def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = _llvm_type(floats)
        first = builder.sitofp(values[0], ir.FloatType())
        return builder.fadd(_splat(builder, first, kind), ir.Constant(kind, [float(i) for i in range(LANES)]))

    return floats(types.intp), codegen


@intrinsic
def prefetch(context: Any, array: Any, index: Any) -> Any:
    """Asks for the cache line of an element that is needed soon. Unchecked, and harmless beyond the end."""

    def codegen(ctx: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = ctx.make_array(signature.args[0])(ctx, builder, values[0]).data
        address = builder.bitcast(builder.gep(data, [values[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [address, ir.Constant(word, 0), ir.Constant(word, 3), ir.Constant(word, 1)])
        return ctx.get_dummy_value()

    return types.none(array, types.intp), codegen
