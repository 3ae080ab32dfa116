"""Lowering: MobileNetV2 becomes the kernels it should, and users' networks compute what PyTorch does."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from tvm import relax

from compile.converters import import_program
from compile.lower import Lowered, lower
from compile.models import build_model, find_model
from compile.models._layers import conv_bn
from compile.models.mobilenet_v2 import Bottleneck
from compile.weights import load_weights
from targets.cores import find_core
from tests.boards import run_network

CORE = find_core("cortex-a72")
TOLERANCE = 1e-4
"""Largest error, relative to the outputs' scale: sums in another order differ by about 1e-6 per layer."""


def lowered(module: nn.Module, *inputs: torch.Tensor) -> Lowered:
    return lower(import_program(torch.export.export(module.eval(), inputs)), CORE)


def kinds(network: Lowered) -> Counter[str]:
    return Counter(kernel.workload.kind if kernel.workload else "other" for kernel in network.kernels)


def assert_agrees(module: nn.Module, network: Lowered, *inputs: torch.Tensor) -> None:
    with torch.no_grad():
        expected = module(*inputs)
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    actual = run_network(network, CORE, *(tensor.numpy() for tensor in inputs))
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == tuple(theirs.shape)
        assert np.abs(ours - theirs.numpy()).max() < TOLERANCE * max(1.0, float(theirs.abs().max()))


def mobilenet_v2(size: int) -> tuple[nn.Module, torch.Tensor]:
    entry = find_model("mobilenet_v2")
    module = build_model(entry, {})
    load_weights(module, "random:0", entry, (1, 3, size, size))
    return module, torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_mobilenet_v2_is_20_kernels_and_no_other():
    module, image = mobilenet_v2(224)
    network = lowered(module, image)
    assert kinds(network) == {"bottleneck": 17, "pointwise": 1, "pool": 1, "dense": 1}
    multiply_adds = sum(kernel.workload.multiply_adds for kernel in network.kernels)
    assert multiply_adds == 300_774_272  # the paper's 300M (Table 4)


def test_mobilenet_v2_calls_nothing_but_its_kernels():
    module, image = mobilenet_v2(96)
    main = lowered(module, image).module["main"]
    called: list[str] = []
    relax.analysis.post_order_visit(
        main,
        lambda e: called.append(e.op.name) if isinstance(e, relax.Call) and hasattr(e.op, "name") else None,
    )
    assert set(called) <= {
        "relax.call_tir",
        "relax.memory.view",
        "relax.memory.ensure_zero_offset",
        "relax.reshape",
    }


def test_mobilenet_v2_agrees_with_pytorch():
    module, image = mobilenet_v2(96)
    assert_agrees(module, lowered(module, image), image)


class Branches(nn.Module):
    """Branches that begin with the same ReLU, as NASNet's cells have them."""

    def __init__(self) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (3, 5))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[N, C, H, W], three times."""
        return (torch.relu(x), *(pool(torch.relu(x)) for pool in self.pools))


def test_what_branches_share_is_computed_once():
    image = torch.randn(1, 8, 9, 9, generator=torch.Generator().manual_seed(0))
    network = lowered(Branches(), image)
    assert sum("relu" in kernel.name for kernel in network.kernels) == 1
    assert_agrees(Branches(), network, image)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.LeakyReLU(0.2)], ids=str)
def test_activation_of_a_concatenation_is_in_its_parts_epilogues(activation):
    module = Apply(
        lambda m, x: activation(torch.cat([m.left(x), m.right(x)], 1)),
        left=nn.Conv2d(8, 6, 1),
        right=nn.Conv2d(8, 9, 1),
    )
    image = torch.randn(1, 8, 7, 5, generator=torch.Generator().manual_seed(0))
    network = lowered(module, image)
    assert_agrees(module, network, image)
    assert kinds(network)["pointwise"] == 2 and kinds(network)["concat"] == 1
    assert not {"nn", "relu", "minimum"} & {kernel.name for kernel in network.kernels}


def settle(module: nn.Module) -> nn.Module:
    """Batch-norm statistics and affine parameters that are not the identity."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    return module.eval()


class Apply(nn.Module):
    """Layers by name, put together by `body`."""

    def __init__(self, body, **layers):
        super().__init__()
        self.body = body
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *inputs):
        return self.body(self, *inputs)


def squeeze_excite(self, x):
    x = F.hardswish(self.conv(x))
    scale = self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1))))
    return x * F.hardsigmoid(scale)


NETWORKS = {
    "bias_then_norm": lambda: nn.Sequential(nn.Conv2d(3, 18, 3, bias=True), nn.BatchNorm2d(18), nn.ReLU6()),
    "norm_first": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 16, 3, padding=1)),
    "norm_after_relu": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)),
    "norm_last": lambda: nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3)),
    "used_twice": lambda: Apply(
        lambda m, x: (y := m.conv(x)) + m.norm(y), conv=nn.Conv2d(3, 16, 3), norm=nn.BatchNorm2d(16)
    ),
    "used_by_two_convolutions": lambda: Apply(
        lambda m, x: m.left(y := F.relu6(m.conv(x))) + m.right(y),
        conv=nn.Conv2d(3, 16, 3),
        left=nn.Conv2d(16, 24, 1),
        right=nn.Conv2d(16, 24, 1),
    ),
    "residual": lambda: Apply(
        lambda m, x: (y := m.stem(x)) + m.norm(m.conv(y)),
        stem=nn.Conv2d(3, 16, 3),
        conv=nn.Conv2d(16, 16, 1, bias=False),
        norm=nn.BatchNorm2d(16),
    ),
    "groups_2": lambda: nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 20, 3, padding=1, groups=2)),
    "groups_4_odd": lambda: nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 28, 3, padding=1, groups=4)),
    "groups_1x1": lambda: nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 24, 1, groups=3)),
    "multiplier_2": lambda: nn.Sequential(nn.Conv2d(3, 9, 1), nn.Conv2d(9, 18, 3, padding=1, groups=9)),
    "groups_on_the_image": lambda: nn.Conv2d(3, 6, 3, groups=3),
    "depthwise_on_the_image": lambda: nn.Conv2d(3, 3, 3, groups=3, padding=1),
    "depthwise_5x5": lambda: nn.Sequential(
        nn.Conv2d(3, 20, 1), nn.Conv2d(20, 20, 5, stride=2, padding=2, groups=20)
    ),
    "depthwise_9x9": lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 9, padding=4, groups=8)),
    "dilation": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, dilation=2, padding=2), nn.Conv2d(8, 8, 3, dilation=2, padding=2, groups=8)
    ),
    "asymmetric_padding": lambda: Apply(
        lambda m, x: m.depthwise(F.pad(m.conv(F.pad(x, (0, 1, 0, 1))), (1, 2, 0, 1))),
        conv=nn.Conv2d(3, 8, 3, stride=2),
        depthwise=nn.Conv2d(8, 8, 3, stride=2, groups=8),
    ),
    "padding_same": lambda: nn.Conv2d(3, 8, 4, padding="same"),
    "uneven_window": lambda: nn.Conv2d(3, 8, (1, 7), stride=(1, 2), padding=(0, 3)),
    "strided_1x1": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1, stride=2)),
    "padded_1x1": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1, padding=1)),
    "pointwise_on_the_image": lambda: nn.Conv2d(3, 5, 1),
    "max_pool": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(3, 2, padding=1)),
    "max_pool_ceil": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2, 2, ceil_mode=True)),
    "avg_pool": lambda: nn.Sequential(nn.Conv2d(3, 7, 3), nn.AvgPool2d(3, 2, padding=1)),
    "avg_pool_uncounted": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
    ),
    "avg_pool_ceil": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.AvgPool2d(2, 2, ceil_mode=True)),
    "adaptive_2x2": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
    "pools_of_every_form": lambda: Apply(
        lambda m, x: [pool(m.conv(x)) for pool in m.pools],
        conv=nn.Conv2d(3, 21, 1),
        pools=nn.ModuleList(
            [
                nn.MaxPool2d(3, 2, ceil_mode=True),
                nn.MaxPool2d(3, 2, 1, ceil_mode=True),
                nn.AvgPool2d(3, 2, 1, ceil_mode=True),
                nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
                nn.AvgPool2d((3, 5), (2, 3), (1, 2), ceil_mode=True),
                nn.AdaptiveAvgPool2d(3),
                nn.AdaptiveAvgPool2d((19, 1)),
                nn.AdaptiveAvgPool2d((25, 30)),
            ]
        ),
    ),
    "mean": lambda: Apply(lambda m, x: m.conv(x).mean((2, 3)), conv=nn.Conv2d(3, 10, 3)),
    "mean_keepdim": lambda: Apply(
        lambda m, x: m.conv(x).mean((2, 3), keepdim=True), conv=nn.Conv2d(3, 10, 3)
    ),
    "mean_of_channels": lambda: Apply(lambda m, x: m.conv(x).mean(1), conv=nn.Conv2d(3, 10, 3)),
    "largest": lambda: Apply(
        lambda m, x: [(y := m.conv(x)).amax((-1, -2)), y.amax(1, keepdim=True), y.amax()],
        conv=nn.Conv2d(3, 10, 3),
    ),
    "largest_of_adaptive_windows": lambda: Apply(
        lambda m, x: [F.adaptive_max_pool2d(m.conv(x), size) for size in (1, (5, 7), (4, None))],
        conv=nn.Conv2d(3, 10, 3),
    ),
    "scaled_exponentials": lambda: nn.Sequential(
        nn.Conv2d(3, 10, 3), nn.SELU(), nn.Conv2d(10, 6, 1), nn.CELU(0.7), nn.Conv2d(6, 6, 1), nn.ELU(0.3)
    ),
    "group_norms": lambda: nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.GroupNorm(3, 12, affine=False), nn.Conv2d(12, 10, 1), nn.GroupNorm(2, 10)
    ),
    "sampled": lambda: Apply(
        lambda m, x: [
            F.grid_sample(
                m.conv(x), m.grid.weight.reshape(1, 6, 5, 2).expand(len(x), -1, -1, -1), mode, pad, ends
            )
            for mode, pad, ends in (("bilinear", "zeros", False), ("nearest", "border", True))
        ],
        conv=nn.Conv2d(3, 10, 3),
        grid=nn.Linear(2, 30),
    ),
    "squeezed_from_the_end": lambda: Apply(
        lambda m, x: [
            (y := F.adaptive_avg_pool2d(m.conv(x), 1)).squeeze(-1).squeeze(-1),
            y.squeeze((-1, -3)),
        ],
        conv=nn.Conv2d(3, 10, 3),
    ),
    "pool_of_a_row": lambda: Apply(lambda m, x: F.max_pool1d(m.conv(x).mean(2), 2), conv=nn.Conv2d(3, 10, 3)),
    "classifier": lambda: nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 37), nn.Linear(37, 10)
    ),
    "flatten": lambda: nn.Sequential(nn.Conv2d(3, 5, 3, 4), nn.Flatten(), nn.LazyLinear(10)),
    "concat": lambda: Apply(
        lambda m, x: torch.cat([m.left(x), F.relu(m.right(x))], 1),
        left=nn.Conv2d(3, 6, 3),
        right=nn.Conv2d(3, 9, 3),
    ),
    "squeeze_excite": lambda: Apply(
        squeeze_excite, conv=nn.Conv2d(3, 16, 3), reduce=nn.Conv2d(16, 6, 1), expand=nn.Conv2d(6, 16, 1)
    ),
    "silu": lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.SiLU(), nn.Conv2d(16, 8, 1), nn.LeakyReLU(0.1)),
    "prelu": lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.PReLU(16), nn.Conv2d(16, 8, 1)),
    "softmax": lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Softmax(1)),
    "transposed": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 6, 4, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 1)
    ),
    "transposed_of_every_form": lambda: Apply(
        lambda m, x: [layer(m.conv(x)) for layer in m.layers],
        conv=nn.Conv2d(3, 8, 1),
        layers=nn.ModuleList(
            nn.ConvTranspose2d(8, outputs, kernel, stride, padding, extra, **more)
            for outputs, kernel, stride, padding, extra, more in (
                (6, 2, 2, 0, 0, {}),
                (21, 3, 2, 1, 1, {}),
                (5, 5, 3, 2, 1, {}),
                (4, 1, 2, 0, 1, {}),
                (6, 3, 1, 1, 0, {}),
                (3, 8, 2, 5, 1, {}),
                (6, (4, 3), 2, 1, (0, 1), {"bias": False}),
                (6, (4, 3), (2, 1), 1, 0, {}),  # TVM's kernel, as the next two
                (6, 4, 2, 1, 0, {"groups": 2}),
                (6, 3, 2, 1, 1, {"dilation": 2}),
            )
        ),
    ),
    "resized_in_every_way": lambda: Apply(
        lambda m, x: [
            F.relu(F.interpolate(m.conv(x), size, mode=mode, **more)) + 1
            for size, mode, more in (
                ((33, 30), "bilinear", {"align_corners": True}),
                ((7, 41), "bilinear", {}),
                ((40, 44), "bilinear", {"antialias": True}),
                ((31, 7), "nearest", {}),
                ((19, 22), "nearest", {}),
                ((25, 30), "bicubic", {}),
            )
        ],
        conv=nn.Conv2d(3, 18, 1),
    ),
    "upsample": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 4, 1)
    ),
    "channel_shuffle": lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.ChannelShuffle(2), nn.Conv2d(8, 8, 1)),
    "channel_shuffle_of_three": lambda: nn.Sequential(
        nn.Conv2d(3, 39, 1), nn.ChannelShuffle(3), nn.Conv2d(39, 8, 1), nn.ChannelShuffle(4)
    ),
    "two_outputs": lambda: Apply(
        lambda m, x: (y := F.relu(m.conv(x)), m.head(y)), conv=nn.Conv2d(3, 8, 3), head=nn.Conv2d(8, 4, 1)
    ),
    "tensorflows_padding": lambda: nn.Sequential(
        conv_bn(3, 16, 3, stride=2, padding="same"),
        conv_bn(16, 16, 3, stride=2, groups=16, padding="same"),
        conv_bn(16, 24, 3, stride=2, padding="same"),
        Bottleneck(24, 32, 2, 6, padding="same"),
    ),
    "input_returned": lambda: Apply(lambda m, x: (x, m.conv(x)), conv=nn.Conv2d(3, 8, 3)),
}


def test_zeros_before_a_convolution_take_no_kernel():
    network = lowered(NETWORKS["tensorflows_padding"](), torch.randn(1, 3, 19, 22))
    assert kinds(network) == {"stem": 1, "depthwise": 2, "conv": 1, "pointwise": 2, "planar": 1}


IN_BATCHES = ("residual", "groups_4_odd", "depthwise_5x5", "strided_1x1", "max_pool", "mean", "classifier")


@pytest.mark.parametrize(
    ("name", "batch"), [*((name, 1) for name in NETWORKS), *((n, 2) for n in IN_BATCHES)]
)
def test_network_agrees_with_pytorch(name, batch):
    torch.manual_seed(0)
    module, image = NETWORKS[name](), torch.randn(batch, 3, 19, 22)
    with torch.no_grad():
        module(image)  # gives lazy layers their shape
    settle(module)
    assert_agrees(module, lowered(module, image), image)


@pytest.mark.parametrize(
    ("layer", "remedy"),
    [
        (nn.Upsample(scale_factor=1.5, mode="bilinear"), "give it a size instead"),  # 7 pixels times 1.5
        (nn.Upsample(scale_factor=1.3), "give it a size instead"),
        (nn.AvgPool2d(3, divisor_override=5), "scale its result"),
    ],
    ids=repr,
)
def test_what_relax_cannot_express_is_refused(layer, remedy):
    with pytest.raises(NotImplementedError, match=remedy):
        lowered(layer, torch.randn(1, 3, 7, 7))


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(16, 24, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)],
    ids=["conv", "pointwise", "depthwise"],
)
def test_one_pixel_has_a_bias_of_the_outputs_shape(layer):
    module, pixel = nn.Sequential(layer, nn.ReLU6()), torch.randn(1, 16, 1, 1)
    assert_agrees(module, lowered(module, pixel), pixel)
