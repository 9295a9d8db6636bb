"""Drawings and tables of models for people, and the drawing of a training."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import fastnn
from fastnn import layers
from fastnn.callbacks import History

SPACE = "{http://www.w3.org/2000/svg}"


def two_headed(name="two headed"):
    numbers = [fastnn.Input((4,)), layers.Dense(8)]
    more = [fastnn.Input((3,)), layers.LayerNormalization(), layers.Dense(8)]
    return fastnn.Sequential(
        [
            layers.Branches({"numbers": numbers, "more": more}),
            layers.Residual([layers.Dense(16, "relu"), layers.Dense(16)]),
            layers.Heads({"price": [layers.Dense(1)], "kind": [layers.Dense(3, "softmax")]}),
        ],
        name=name,
    )


def drawn(model):
    """The texts of a drawing, and its boxes as (left, top, right, bottom)."""
    root = ElementTree.fromstring(model.plot().svg)
    texts = [text.text for text in root.iter(f"{SPACE}text")]
    boxes = []
    for box in root.iter(f"{SPACE}rect"):
        x, y, width, height = (float(box.get(key)) for key in ("x", "y", "width", "height"))
        boxes.append((box.get("class"), x, y, x + width, y + height))
    return root, texts, boxes


def test_a_drawing_says_every_layer_with_shape_and_parameters():
    model = two_headed()
    _, texts, _ = drawn(model)
    for expected in ("x", "7 columns", "Branches → 16", "numbers", "more", "price", "kind", "Dense, softmax → 3", "y"):
        assert expected in texts
    counted = [int(text.split()[0].replace(",", "")) for text in texts if text.endswith(" parameters")]
    assert sum(counted) == model.count_params()
    assert texts.count("+") == 1  # of the residual block


@pytest.mark.parametrize("make", [two_headed, lambda: fastnn.Sequential([fastnn.Input((2,)), layers.Dense(3)])])
def test_boxes_lie_within_the_drawing_and_apart(make):
    root, _, boxes = drawn(make())
    width, height = float(root.get("width")), float(root.get("height"))
    assert all(
        0 <= left < right <= width + 1 and 0 <= top < bottom <= height + 1 for _, left, top, right, bottom in boxes
    )
    solid = [box[1:] for box in boxes if box[0] == "box"]
    for k, (left, top, right, bottom) in enumerate(solid):
        for other in solid[k + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_names_are_text_not_markup(tmp_path):
    model = fastnn.Sequential([fastnn.Input((2,)), layers.Dense(1, name="<script>&")], name='"<b>\x1b')
    _, texts, _ = drawn(model)
    assert "<script>&" in texts
    assert "<script>" not in model.plot().svg
    assert "<script>" not in model._repr_html_()
    assert "\x1b" not in model.plot().svg + model._repr_html_()


def test_a_drawing_of_a_model_without_shapes_or_layers():
    _, texts, _ = drawn(fastnn.Sequential([layers.Dense(3)]))
    assert "? columns" in texts
    assert drawn(fastnn.Sequential())[1] == ["x", "? columns", "y"]


def test_a_drawing_is_saved_as_svg_alone(tmp_path):
    diagram = two_headed().plot()
    path = tmp_path / f"{np.random.default_rng().integers(1 << 60)}.svg"
    diagram.save(path)
    assert path.read_text(encoding="utf-8").strip() == diagram.svg == diagram._repr_svg_()
    with pytest.raises(ValueError, match=re.escape("path must end in .svg, got 'a.png'")):
        diagram.save("a.png")


def test_the_table_of_notebooks_has_what_the_summary_has():
    model, lines = two_headed(), []
    model.summary(print_fn=lines.append)
    html = model._repr_html_()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    assert len(cells) == 4 * 7
    for cell in cells:
        assert any(cell in line for line in lines)
    assert lines[-1] in html


def test_history_says_what_it_cannot_draw():
    history = History()
    with pytest.raises(ValueError, match="there is nothing to draw: no epoch has ended"):
        history.plot()
    history.on_train_begin()
    history.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0, "recall": np.ones(3)})
    with pytest.raises(ValueError, match=r"got 'los'.*'loss'"):
        history.plot("los")
    with pytest.raises(ValueError, match="got 'recall'"):
        history.plot(["recall"])
    with pytest.raises(ValueError, match="axes must be one for each of loss, got 2"):
        history.plot(axes=[object(), object()])


@pytest.mark.thread_unsafe(reason="matplotlib's pyplot is the process's")
def test_history_draws_validation_dashed():
    mpl = pytest.importorskip("matplotlib")
    mpl.use("Agg")
    history = History()
    for epoch in range(3):
        history.on_epoch_end(epoch, {"loss": 3.0 - epoch, "accuracy": 0.1, "val_loss": 4.0 - epoch})
    axes = history.plot()
    assert [axis.get_ylabel() for axis in axes] == ["loss", "accuracy"]
    training, validation = axes[0].get_lines()
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    np.testing.assert_array_equal(validation.get_xydata(), [[1, 4], [2, 3], [3, 2]])
    assert len(axes[1].get_lines()) == 1
    mpl.pyplot.close("all")
