"""Every network against its paper's counts, and traced with weights from a seed."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from compile.cli import show
from compile.cli.console import TABLE_WIDTH
from compile.frontend import trace
from compile.models import Cost, build_model, find_model, model_cost, model_rows
from compile.models._anchors import anchor_boxes, anchors_by_level
from compile.models._layers import atrous, conv_bn
from compile.models.ssd import SSD
from compile.random_weights import structured_inputs
from compile.source import Source
from targets.errors import UserError

ROWS = model_rows()


def built(name: str, **args: object) -> nn.Module:
    """The network without weights, to be counted."""
    with torch.device("meta"):
        return find_model(name).factory(**args).eval()


def cost(name: str, size: int, **args: object) -> Cost:
    return model_cost(built(name, **args), (1, 3, size, size))


# (network, size, arguments, parameters, multiply-adds): the paper's. Where ours differ by more than 2%, our
# exact number stands instead, and why.
COUNTS = [
    ("mobilenet_v1", 224, {}, 4.2e6, 575e6),
    ("mobilenet_v1", 224, {"width": 0.75}, 2.6e6, 325e6),
    ("mobilenet_v1", 224, {"width": 0.5}, 1.33e6, 149e6),
    ("mobilenet_v1", 224, {"width": 0.25}, 0.47e6, 41e6),
    # The paper prints 3.4M and 6.9M parameters; its authors' checkpoints have these.
    ("mobilenet_v2", 224, {}, 3.47e6, 300e6),
    ("mobilenet_v2", 224, {"width": 1.4}, 6.06e6, 585e6),
    ("shufflenet", 224, {"width": 1.5}, 3.4e6, 292e6),
    ("shufflenet", 224, {"width": 2.0}, 5.4e6, 524e6),
    ("nasnet_mobile", 224, {}, 5.3e6, 564e6),
    # Strides are in the 3x3 convolutions, as torchvision's; in the 1x1 it would be the paper's 7.6B.
    ("resnet101", 224, {}, 44_549_160, 7_801_405_440),
    ("ssdlite_mobilenet_v1", 320, {}, 5.1e6, 1.3e9),
    ("ssdlite_mobilenet_v2", 320, {}, 4.3e6, 0.8e9),
    ("deeplabv3_mobilenet_v2", 513, {}, 2.11e6, 2.75e9),
    ("deeplabv3_mobilenet_v2", 512, {}, 2.11e6, 2.60e9),
    # The paper's 5.8B, 14.25B and 81.0B hold padding of ASPP's input; 81.0B a larger stem, too.
    ("deeplabv3_mobilenet_v2", 513, {"aspp": True}, 4.52e6, 5_363_508_928),
    ("deeplabv3_mobilenet_v1", 513, {}, 11.15e6, 12_760_886_976),
    ("deeplabv3_resnet101", 513, {}, 58.16e6, 71_061_387_712),
]


@pytest.mark.parametrize(("name", "size", "args", "params", "multiply_adds"), COUNTS)
def test_counts_are_the_papers(name, size, args, params, multiply_adds):
    counted = cost(name, size, **args)
    assert counted.params == _near(params)
    assert counted.multiply_adds == _near(multiply_adds)


def _near(figure: float) -> object:
    return figure if isinstance(figure, int) else pytest.approx(figure, rel=0.02)


# ShuffleNet's paper, Table 2 and section 4.1.1: multiply-adds in millions.
@pytest.mark.parametrize(
    ("groups", "width", "millions"),
    [(1, 1.0, 143), (2, 1.0, 140), (3, 1.0, 137), (4, 1.0, 133), (8, 1.0, 137), (3, 0.5, 38), (8, 0.5, 40)],
)
def test_shufflenet_counts_by_groups_are_the_papers(groups, width, millions):
    counted = cost("shufflenet", 224, groups=groups, width=width)
    assert counted.multiply_adds == pytest.approx(millions * 1e6, rel=0.02)


# What follows the backbone, from MobileNetV2's paper: 14.8M and 1.25B, and 2.1M as SSDLite; why SSDLite's
# multiply-adds are not its 0.35B stands with the network.
@pytest.mark.parametrize(
    ("name", "params", "multiply_adds"),
    [("ssd_mobilenet_v2", 14.8e6, 1.25e9), ("ssdlite_mobilenet_v2", 2.1e6, 177_617_344)],
)
def test_ssd_heads_are_the_papers(name, params, multiply_adds):
    whole = built(name)
    backbone = model_cost(nn.Sequential(whole.levels[0], whole.levels[1]), (1, 3, 320, 320))
    counted = model_cost(whole, (1, 3, 320, 320))
    assert counted.params - backbone.params == _near(params)
    assert counted.multiply_adds - backbone.multiply_adds == _near(multiply_adds)


@pytest.mark.parametrize("name", [row["name"] for row in ROWS])
def test_every_network_traces_and_tells_images_apart(name):
    args = {"raw": "true"} if find_model(name).task == "detect" else {}
    traced = trace(Source(name, args, weights="random:0", inputs={"image": (1, 3, 64, 64)}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = structured_inputs((2, 3, 64, 64)).numpy()
    first, second = (traced.reference(images[i : i + 1]) for i in (0, 1))
    assert len(first) == len(traced.outputs)
    for tensor, one, other in zip(traced.outputs, first, second, strict=True):
        assert one.shape == tensor.shape and str(one.dtype) == tensor.dtype
        assert np.isfinite(one).all()
        is_map = one.dtype == np.uint8
        apart = (one != other).mean() if is_map else np.abs(one - other).mean() / one.std()
        assert apart > 0.2


VARIANTS = {
    "mobilenet_v2": ({"linear": "false"}, {"shortcut": "expansions"}, {"shortcut": "none"}),
    "shufflenet": tuple({"groups": groups, "width": "0.3"} for groups in "12348"),
    "mobilenet_v1": ({"width": "0.3"},),
}


@pytest.mark.parametrize(("name", "args"), [(name, args) for name in VARIANTS for args in VARIANTS[name]])
def test_variants_of_classifiers_run_at_odd_sizes(name, args):
    module = build_model(find_model(name), {"num_classes": "10", **args})
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 65, 47)).shape == (2, 10)


def test_mobilenet_v2_variants_differ_by_what_they_say():
    plain = built("mobilenet_v2")
    operators = {
        (name, value): _operators(built("mobilenet_v2", **{name: value}))
        for name, value in (("linear", False), ("shortcut", "expansions"), ("shortcut", "none"))
    }
    expected = _operators(plain)
    assert expected["add.Tensor"] == 10  # a shortcut in each but the first block of a row of Table 2
    assert operators["linear", False] - expected == {"hardtanh.default": 17}
    assert operators["shortcut", "expansions"] == expected
    assert expected - operators["shortcut", "none"] == {"add.Tensor": 10}
    for other in operators.values():
        assert not (other - expected).keys() & {"conv2d.default"}


def _operators(module: nn.Module) -> Counter[str]:
    image = torch.zeros(1, 3, 64, 64, device="meta")
    graph = torch.export.export(module, (image,)).graph
    return Counter(
        str(node.target).removeprefix("aten.") for node in graph.nodes if node.op == "call_function"
    )


def test_shortcuts_join_expansions():
    """With no weights of its own an expansion is the one before it."""
    module = build_model(find_model("mobilenet_v2"), {"shortcut": "expansions"})
    seen = {}
    module.features[3].conv[1].register_forward_pre_hook(lambda _, inputs: seen.update(second=inputs[0]))
    module.features[4].conv[1].register_forward_pre_hook(lambda _, inputs: seen.update(third=inputs[0]))
    nn.init.zeros_(module.features[4].conv[0][0].weight)
    with torch.no_grad():
        module(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert seen["second"].abs().sum() > 0
    assert torch.equal(seen["third"], seen["second"])


def test_atrous_layers_keep_the_product_of_strides():
    assert list(atrous((2, 1, 2, 2, 1), 32)) == [(2, 1), (1, 1), (2, 1), (2, 1), (1, 1)]
    assert list(atrous((2, 1, 2, 2, 1, 2, 1), 4)) == [(2, 1), (1, 1), (2, 1), (1, 1), (1, 2), (1, 2), (1, 4)]


@pytest.mark.parametrize("backbone", ["mobilenet_v1", "mobilenet_v2", "resnet101"])
@pytest.mark.parametrize("stride", [16, 8])
def test_deeplab_classifies_every_pixel_at_its_output_stride(backbone, stride):
    module = built(f"deeplabv3_{backbone}", output_stride=stride, aspp=True)
    image = torch.zeros(1, 3, 129, 97, device="meta")
    classes = module(image)
    assert classes.shape == (1, 129, 97) and classes.dtype == torch.uint8
    assert module.features(image).shape[2:] == (128 // stride + 1, 96 // stride + 1)
    rates = [layer.dilation[0] for layer in module.branches.modules() if isinstance(layer, nn.Conv2d)]
    assert rates == [1, *(rate * 16 // stride for rate in (6, 12, 18))]


def test_deeplab_reads_weights_of_its_backbones_classifier():
    """Atrous layers have the same weights: a classifier's backbone can be put under the head."""
    whole, part = built("mobilenet_v2"), built("deeplabv3_mobilenet_v2", output_stride=8)
    shapes = {key: value.shape for key, value in part.features.state_dict().items()}
    assert shapes.items() <= {k: v.shape for k, v in whole.features.state_dict().items()}.items()
    whole, part = built("resnet101"), built("deeplabv3_resnet101")
    shapes = {key: value.shape for key, value in part.features.state_dict().items()}
    assert shapes.items() <= {k: v.shape for k, v in whole.state_dict().items()}.items()


@pytest.mark.parametrize("name", ["ssdlite_mobilenet_v1", "ssdlite_mobilenet_v2", "ssd_mobilenet_v2"])
def test_ssd_has_six_levels_from_output_stride_16(name):
    module = built(name, num_classes=3)
    assert isinstance(module, SSD)
    x, sides = torch.zeros(1, 3, 320, 320, device="meta"), []
    for level in module.levels:
        x = level(x)
        sides.append(x.shape[-1])
    assert sides == [20, 10, 5, 3, 2, 1]
    anchors = sum(side**2 * len(each) for side, each in zip(sides, module.anchors, strict=True))
    image = torch.zeros(1, 3, 320, 320, device="meta")
    raw = built(name, num_classes=3, raw=True)(image)
    assert {key: value.shape for key, value in raw.items()} == {
        "deltas": (1, anchors, 4),
        "logits": (1, anchors, 4),
    }
    found = module(image)
    assert {key: (value.shape, value.dtype) for key, value in found.items()} == {
        "boxes": ((1, 100, 4), torch.float32),
        "scores": ((1, 100), torch.float32),
        "labels": ((1, 100), torch.int32),
        "count": ((1,), torch.int32),
    }


def test_ssd_outputs_follow_anchors_of_a_pixel():
    """A level's prediction at a pixel stands at (row * width + column) * anchors + anchor."""
    module = build_model(find_model("ssdlite_mobilenet_v1"), {"num_classes": "2", "raw": "true"})
    predicted = {}
    module.scores[0].register_forward_hook(lambda *call: predicted.update(planes=call[2]))
    with torch.no_grad():
        logits = module(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)))["logits"]
    planes = predicted["planes"]
    row, column, anchor, label = 2, 5, 1, 2
    index = (row * planes.shape[3] + column) * len(module.anchors[0]) + anchor
    assert logits[0, index, label] == planes[0, anchor * 3 + label, row, column]


def test_anchors_are_those_of_tensorflows_models():
    """Of a frozen SSDLite-MobileNetV2 at 300 pixels: its scales, and the first anchors of two levels."""
    levels = anchors_by_level(0.2, 0.95)
    assert levels[0] == ((0.1, 1.0), (0.2, 2.0), (0.2, 0.5))
    scales = [[scale for scale, _ in level] for level in levels[1:]]
    assert scales[0] == pytest.approx([0.35] * 5 + [0.41833], rel=1e-5)
    assert scales[4] == pytest.approx([0.95] * 5 + [0.9746794], rel=1e-5)
    boxes = anchor_boxes(levels, [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)], (300, 300))
    assert len(boxes) == 19**2 * 3 + (10**2 + 5**2 + 3**2 + 2**2 + 1) * 6
    assert boxes[0] == pytest.approx([0.5 / 19, 0.5 / 19, 0.1, 0.1])
    assert boxes[19 * 3 + 4] == pytest.approx([1.5 / 19, 1.5 / 19, 0.2 / 2**0.5, 0.2 * 2**0.5])
    assert boxes[19**2 * 3 + 7] == pytest.approx([0.05, 0.15, 0.35 / 2**0.5, 0.35 * 2**0.5])


def test_anchors_of_a_wide_image_are_as_wide_in_pixels():
    (square,) = anchor_boxes([[(0.5, 1.0)]], [(1, 1)], (100, 200))
    assert square == [0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(("pixels", "first"), [(300, 0), (75, 1), (38, 0), (5, 1), (2, 0)])
def test_same_padding_is_tensorflows(pixels, first):
    """Over an even number of pixels the window begins at the first, over an odd number one before."""
    layer = conv_bn(1, 1, 3, stride=2, padding="same")[0]
    nn.init.ones_(layer.weight)
    image = torch.arange(pixels, dtype=torch.float32).expand(1, 1, 3, pixels)
    with torch.no_grad():
        rows = layer(image)[0, 0]
    assert rows.shape == (2, -(-pixels // 2))
    assert rows[0, 0] == 2 * image[0, 0, 0, : 3 - first].sum()


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("mobilenet_v1", {"width": "1.2"}, "0.25 to 1.0"),
        ("mobilenet_v2", {"shortcut": "all"}, "bottlenecks or expansions or none"),
        ("shufflenet", {"groups": "5"}, "1 or 2 or 3 or 4 or 8"),
        ("deeplabv3_mobilenet_v2", {"output_stride": "32"}, "16 or 8"),
        ("deeplabv3_resnet101", {"num_classes": "257"}, "1 to 256"),
        ("ssdlite_mobilenet_v2", {"num_classes": "0"}, "1 or more"),
        ("ssdlite_mobilenet_v2", {"max_scale": "0.1"}, "above 0, up to 1"),
        ("ssdlite_mobilenet_v1", {"score_threshold": "1"}, "0 to below 1"),
        ("ssd_mobilenet_v2", {"iou_threshold": "-0.1"}, "0 to 1"),
        ("ssd_mobilenet_v2", {"max_detections": "0"}, "1 or more"),
    ],
)
def test_what_a_network_does_not_take_is_named(name, args, told):
    with pytest.raises(UserError, match=name) as caught:
        build_model(find_model(name), args)
    assert told in str(caught.value)


def test_the_table_of_networks_is_whole():
    console = Console(file=io.StringIO(), width=TABLE_WIDTH)
    for part in show.models(ROWS):
        console.print(part)
    text = console.file.getvalue()
    assert "…" not in text
    assert all(row["name"] in text and row["summary"] in text for row in ROWS)


def test_every_network_is_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    assert [row["name"] for row in ROWS if f"`{row['name']}`" not in text] == []
