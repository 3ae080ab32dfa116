"""The registry, its arguments and counts, and MobileNetV2 against its paper."""

import json

import pytest
import torch

from compile.models import build_model, find_model, model_cost, model_rows
from compile.models._arguments import convert_arguments
from compile.models._layers import round_channels
from targets.errors import UserError

ROWS = model_rows()
NAMES = [row["name"] for row in ROWS]


@pytest.mark.parametrize("name", NAMES)
def test_every_model_builds_and_runs_at_a_reduced_size(name):
    entry = find_model(name)
    module = build_model(entry, {})
    with torch.no_grad():
        outputs = module(torch.zeros(1, 3, 64, 64))
    assert not module.training
    for output in outputs.values() if isinstance(outputs, dict) else (outputs,):
        assert output.isfinite().all()
    assert entry.preprocess.size == entry.input_shape[2:]
    assert entry.summary and entry.paper


def test_rows_are_json_and_sorted():
    assert json.loads(json.dumps(ROWS)) == ROWS
    assert sorted(NAMES) == NAMES
    (row,) = [row for row in ROWS if row["name"] == "mobilenet_v2"]
    assert row["input"] == "1x3x224x224"
    assert row["task"] == "classify"
    assert row["arguments"] == {
        "width": 1.0,
        "num_classes": 1000,
        "linear": True,
        "shortcut": "bottlenecks",
    }


@pytest.mark.parametrize(
    ("width", "size", "params", "multiply_adds"),
    [
        # Multiply-adds: the paper's Table 4. Parameters: its authors' checkpoints (see the docstring).
        ("1.0", 224, 3.47e6, 300e6),
        ("1.4", 224, 6.06e6, 585e6),
        # The authors' table of checkpoints.
        ("0.35", 224, 1.66e6, 59e6),
        ("1.0", 192, 3.47e6, 221e6),
        ("1.0", 160, 3.47e6, 154e6),
    ],
)
def test_mobilenet_v2_counts_are_the_papers(width, size, params, multiply_adds):
    with torch.device("meta"):
        module = find_model("mobilenet_v2").factory(width=float(width)).eval()
    cost = model_cost(module, (1, 3, size, size))
    assert cost.params == pytest.approx(params, rel=0.02)
    assert cost.multiply_adds == pytest.approx(multiply_adds, rel=0.02)


@pytest.mark.parametrize(
    ("channels", "rounded"),
    [
        (32 * 0.35, 16),
        (16 * 0.35, 8),
        (24 * 0.75, 24),
        (32 * 1.4, 48),
        (96 * 0.35, 32),
        (160 * 0.75, 120),
        (1, 8),
    ],
)
def test_channels_are_multiples_of_8_and_never_below_90_percent(channels, rounded):
    assert round_channels(channels) == rounded


def test_widths_above_one_widen_the_last_convolution_and_widths_below_do_not():
    last = {
        width: build_model(find_model("mobilenet_v2"), {"width": width}).classifier[1].in_features
        for width in ("0.35", "1.4")
    }
    assert last == {"0.35": 1280, "1.4": 1792}


def test_arguments_are_converted_by_the_factorys_annotations():
    module = build_model(find_model("mobilenet_v2"), {"width": "0.5", "num_classes": "10"})
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 33, 47)).shape == (2, 10)


def test_an_argument_without_a_type_has_its_defaults_or_is_text():
    def network(kind, channels=8, scale=None): ...

    args = {"kind": "small", "channels": "16", "scale": "half"}
    assert convert_arguments("network", network, args) == {**args, "channels": 16}


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"depth": "3"}, "no argument 'depth': it accepts width=1.0 (float), num_classes=1000 (int)"),
        ({"width": "wide"}, "width=wide"),
        ({"width": "nan"}, "width=nan"),
        ({"num_classes": "2.5"}, "num_classes=2.5"),
        ({"width": "3"}, "0.35 to 1.4"),
        ({"num_classes": "0"}, "1 or more"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_accepted(args, told):
    with pytest.raises(UserError, match="mobilenet_v2") as caught:
        build_model(find_model("mobilenet_v2"), args)
    assert told in str(caught.value)


def test_an_unknown_model_is_told_its_nearest_name():
    with pytest.raises(UserError, match=r"'mobilnetv2'.*mobilenet_v2"):
        find_model("mobilnetv2")


def test_building_leaves_the_global_random_state_and_does_not_depend_on_it():
    entry = find_model("mobilenet_v2")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_model(entry, {"width": "0.35"}).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_model(entry, {"width": "0.35"}).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_multiply_adds_of_grouped_transposed_and_dense_layers():
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, padding=1, groups=2),  # 8x6x6 outputs of 2x3x3
        torch.nn.ConvTranspose2d(8, 2, 2, stride=2),  # 8x6x6 inputs to 2x2x2
        torch.nn.Flatten(),
        torch.nn.Linear(2 * 12 * 12, 5),
    )
    cost = model_cost(layers, (1, 4, 6, 6))
    assert cost.multiply_adds == 8 * 36 * 18 + 8 * 36 * 8 + 288 * 5


def test_an_input_that_a_model_does_not_take_is_named():
    with pytest.raises(UserError, match="1x4x32x32"):
        model_cost(build_model(find_model("mobilenet_v2"), {}), (1, 4, 32, 32))
