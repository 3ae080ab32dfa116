"""Images to network inputs: preprocessing, folders of images, and class names."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image

from compile.datasets import Sample, default_images, find_images
from compile.labels import class_index, labels, synsets
from compile.preprocess import Preprocess
from targets.errors import UserError


def _gradient(width, height):
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 255 // width, rows * 255 // height, (rows + columns) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def _save(path, image=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or _gradient(20, 10)).save(path)
    return path


@pytest.mark.parametrize("size", [(500, 375), (375, 501), (257, 300), (256, 256), (30, 50), (1023, 257)])
def test_preprocessing_is_torchvisions(size):
    image = _gradient(*size)
    width, height = size
    shorter = min(size)
    resized = image.resize(
        (int(256 * width / shorter), int(256 * height / shorter)), Image.Resampling.BILINEAR
    )
    top, left = round((resized.height - 224) / 2.0), round((resized.width - 224) / 2.0)
    expected = np.asarray(resized, np.float64)[top : top + 224, left : left + 224] / 255
    expected = (expected - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)

    tensor = Preprocess().apply(image)

    assert tensor.shape == (1, 3, 224, 224)
    assert tensor.dtype == np.float32 and tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), expected, atol=1e-6)


@pytest.mark.parametrize(("size", "resize"), [(224, 256), (96, 110), (160, 183), (192, 219), (320, 366)])
def test_resize_is_in_proportion_to_another_input(size, resize):
    steps = Preprocess().for_input((1, 3, size, size))
    assert (steps.resize, steps.size) == (resize, (size, size))
    assert steps.apply(_gradient(300, 200)).shape == (1, 3, size, size)


def test_an_oblong_input_is_filled():
    tensor = Preprocess().for_input((1, 3, 64, 128)).apply(_gradient(300, 200))
    assert tensor.shape == (1, 3, 64, 128)


@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (3, 224, 224), (1, 3, 0, 224)])
def test_an_input_that_is_no_image_is_named(shape):
    with pytest.raises(UserError, match="x".join(map(str, shape))):
        Preprocess().for_input(shape)


def test_preprocess_survives_json():
    steps = Preprocess(resize=320, size=(300, 310), mean=(0.5, 0.5, 0.5), fit="letterbox")
    assert Preprocess.from_json(json.loads(json.dumps(steps.to_json()))) == steps


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_other_modes_become_rgb(tmp_path, mode):
    path = _save(tmp_path / "image.tiff", _gradient(40, 40).convert(mode))
    assert Preprocess().apply(path).shape == (1, 3, 224, 224)


def test_an_unreadable_image_is_named(tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    whole = _save(tmp_path / "whole.png", _gradient(200, 200)).read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    for path in (text, cut, tmp_path / "absent.jpg", tmp_path):
        with pytest.raises(UserError, match=path.name):
            Preprocess().apply(path)


def test_labels_come_from_an_imagenet_layout(tmp_path):
    by_index = _save(tmp_path / "1" / "a.jpg")
    by_name = _save(tmp_path / "great_white shark" / "b.JPEG")
    by_synset = _save(tmp_path / "n01440764" / "images" / "c.png")
    (tmp_path / "n01440764" / "boxes.txt").write_text("")
    (tmp_path / "notes").mkdir()
    assert find_images(tmp_path) == [Sample(by_index, 1), Sample(by_name, 2), Sample(by_synset, 0)]


def test_labels_come_from_file_names_or_are_unknown(tmp_path):
    named = _save(tmp_path / "imagenet_00_243.jpg")
    other = _save(tmp_path / "mine.png")
    _save(tmp_path / "cifar10_00_3.png")
    assert find_images(tmp_path) == [Sample(named, 243), Sample(other, None)]
    assert find_images(named) == [Sample(named, 243)]


def test_a_models_own_classes_are_numbered_as_imagefolder_does(tmp_path):
    cat, dog = _save(tmp_path / "cat" / "x.png"), _save(tmp_path / "dog" / "x.png")
    assert find_images(tmp_path, label_set=None) == [Sample(cat, 0), Sample(dog, 1)]


@pytest.mark.parametrize("folder", ["holiday", "1000", "crane"])
def test_a_folder_that_is_no_class_is_named(tmp_path, folder):
    _save(tmp_path / folder / "x.png")
    with pytest.raises(UserError, match=folder):
        find_images(tmp_path)


def test_no_images_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=path.name):
            find_images(path)


@pytest.mark.skipif(importlib.util.find_spec("foolbox") is None, reason="foolbox's images are not installed")
def test_foolboxs_imagenet_images_are_the_default():
    samples = find_images(default_images("classify"))
    assert len(samples) == 20
    assert all(sample.truth is not None for sample in samples)
    assert default_images("segment") is None


def test_without_foolbox_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install --no-deps foolbox==3\.3\.4"):
        default_images("classify")


def test_imagenet_has_its_thousand_classes_in_order():
    names = labels("imagenet")
    assert len(names) == len(set(synsets("imagenet"))) == 1000
    assert (names[0], names[285], names[967], names[999]) == (
        "tench",
        "Egyptian cat",
        "espresso",
        "toilet tissue",
    )
    assert class_index("imagenet", "n01440764") == class_index("imagenet", "TENCH") == 0


def test_an_unknown_label_set_is_named():
    with pytest.raises(UserError, match="'zoo'"):
        labels("zoo")
