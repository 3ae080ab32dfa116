"""The passes one by one: what each rewrites, and what it leaves alone."""

import numpy as np
import pytest
from tvm import ir, relax

from compile.passes.fold_batch_norm import FoldBatchNorm
from compile.passes.fold_constants import FoldConstants
from compile.passes.fold_padding import FoldPadding
from compile.passes.plain_clip import PlainClip
from compile.passes.readers import operator
from compile.passes.schedule_kernels import pack
from compile.passes.select_kernels import SelectKernels

SHAPE = (1, 8, 6, 6)


def module_of(body, shape=SHAPE) -> ir.IRModule:
    """A module whose `main` is `body(data)`."""
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType(shape, "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            out = builder.emit_output(body(builder, data))
        builder.emit_func_output(out)
    return builder.get()


def operators(module: ir.IRModule) -> list[str]:
    names: list[str] = []

    def visit(expression):
        if isinstance(expression, relax.Call) and hasattr(expression.op, "name"):
            names.append(expression.op.name.removeprefix("relax."))

    relax.analysis.post_order_visit(relax.transform.DeadCodeElimination()(module)["main"], visit)
    return names


def constant(*shape) -> ir.Expr:
    return relax.const(np.random.default_rng(0).uniform(0.5, 1.5, shape).astype("float32"))


def norm(builder, data):
    statistics = [constant(8) for _ in range(4)]
    pair = builder.emit(relax.op.nn.batch_norm(data, *statistics, axis=1, training=False))
    return builder.emit(relax.TupleGetItem(pair, 0))


def convolve(builder, data, channels=8):
    return builder.emit(relax.op.nn.conv2d(data, constant(8, channels, 1, 1)))


def test_norm_is_folded_into_its_convolution():
    module = module_of(lambda b, x: norm(b, convolve(b, x)))
    assert operators(FoldBatchNorm()(module)) == ["nn.conv2d", "add"]


def test_norm_is_folded_through_a_bias():
    module = module_of(lambda b, x: norm(b, b.emit(relax.op.add(convolve(b, x), constant(1, 8, 1, 1)))))
    assert operators(FoldBatchNorm()(module)) == ["nn.conv2d", "add"]


def test_norm_without_a_convolution_is_a_multiply_and_an_add():
    assert operators(FoldBatchNorm()(module_of(norm))) == ["multiply", "add"]


def test_norm_is_not_folded_into_a_convolution_used_elsewhere():
    def body(builder, data):
        out = convolve(builder, data)
        return builder.emit(relax.op.add(norm(builder, out), out))

    assert operators(FoldBatchNorm()(module_of(body))) == ["nn.conv2d", "multiply", "add", "add"]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 6, ["nn.relu", "minimum"]),
        (0, np.inf, ["nn.relu"]),
        (-1, 1, ["maximum", "minimum"]),
        (-np.inf, 3, ["minimum"]),
    ],
)
def test_clip_is_plain(low, high, expected):
    module = module_of(lambda b, x: b.emit(relax.op.clip(x, low, high)))
    assert operators(PlainClip()(module)) == expected


def test_transposed_constant_is_folded():
    def body(builder, data):
        weight = builder.emit(relax.op.permute_dims(constant(6, 3), [1, 0]))
        flat = builder.emit(relax.op.reshape(data, (48, 6)))
        return builder.emit(relax.op.matmul(flat, builder.emit(relax.op.permute_dims(weight, [1, 0]))))

    assert operators(FoldConstants()(module_of(body))) == ["reshape", "matmul"]


def test_transpose_that_moves_nothing_is_a_reshape():
    module = module_of(lambda b, x: b.emit(relax.op.permute_dims(x, [0, 2, 3, 1])), (1, 8, 1, 1))
    assert operators(FoldConstants()(module)) == ["reshape"]


def test_transpose_that_moves_is_kept():
    module = module_of(lambda b, x: b.emit(relax.op.permute_dims(x, [0, 2, 3, 1])))
    assert operators(FoldConstants()(module)) == ["permute_dims"]


def test_unknown_operators_are_left_to_tvm():
    def body(builder, data):
        return builder.emit(relax.op.nn.conv2d(data, builder.emit(relax.op.exp(constant(8, 8, 1, 1)))))

    assert operators(SelectKernels()(module_of(body))) == ["exp", "nn.conv2d"]


def test_packing_puts_panels_outside():
    weight = np.arange(2 * 3 * 16).reshape(2, 3, 16)
    packed = pack(weight, 8)
    assert packed.shape == (2, 2, 3, 8)
    np.testing.assert_array_equal(packed[1], weight[..., 8:])


def padded(widths, mode="constant", value=0.0, **attrs):
    """A 3x3 convolution of a padded image, after the pass."""

    def body(builder, data):
        around = builder.emit(relax.op.nn.pad(data, widths, mode, value))
        return builder.emit(relax.op.nn.conv2d(around, constant(8, int(around.ty.shape[1]), 3, 3), **attrs))

    module = FoldPadding()(module_of(body))
    (call,) = (
        binding.value
        for binding in module["main"].body.blocks[0].bindings
        if operator(binding.value) == "nn.conv2d"
    )
    return operators(module), [int(side) for side in call.attrs.padding], list(call.ty.shape)


def test_zeros_around_an_image_are_the_convolutions_padding():
    names, padding, shape = padded([0, 0, 0, 0, 0, 1, 2, 3], strides=2, padding=[1, 1, 0, 0])
    assert names == ["nn.conv2d"]
    assert padding == [1, 3, 1, 3]
    assert shape == [1, 8, 3, 5]


@pytest.mark.parametrize(
    ("widths", "mode", "value"),
    [
        ([0, 0, 0, 0, 0, 1, 0, 1], "constant", 1.0),
        ([0, 0, 0, 0, 0, 1, 0, 1], "reflect", 0.0),
        ([0, 0, 0, 2, 0, 1, 0, 1], "constant", 0.0),
    ],
)
def test_other_padding_stays(widths, mode, value):
    names, padding, _ = padded(widths, mode, value)
    assert sorted(names) == ["nn.conv2d", "nn.pad"]
    assert padding == [0] * 4
