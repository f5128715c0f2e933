"""What the registry and the models' cards say, against the models as they are built."""

import runpy
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from keras_salnet import models
from keras_salnet.models.registry import MODELS
from keras_salnet.training.recipes import RECIPES

_ROOT = Path(__file__).parents[2]
_CARDS = _ROOT / "docs" / "models"


@pytest.fixture(scope="module", params=models.names())
def name(request):
    return request.param


@pytest.fixture(scope="module")
def net(name):
    """The model with its paper's defaults."""
    return models.create(name, backbone_weights=None)


@pytest.fixture(scope="module")
def drawing():
    pytest.importorskip("graphviz")
    return runpy.run_path(str(_ROOT / "tools" / "draw.py"))


def test_parameters(name, net):
    assert MODELS[name].parameters == net.count_params()


def test_recipe_is_the_defaults(name, net):
    """Else the list would give one model's parameters and another's input."""
    assert net.input_shape[1:3] == RECIPES[name].input_size


def test_card(name):
    card = (_CARDS / f"{name}.md").read_text()
    height, width = RECIPES[name].input_size
    assert f"| parameters | {MODELS[name].parameters:,} |" in card
    assert f"| {height} × {width} × 3 → {height} × {width} × 1" in card
    assert f"({name}.svg)" in card
    assert f"keras-salnet train --model {name}" in card
    index = (_CARDS / "README.md").read_text()
    assert f"[{MODELS[name].builder}]({name}.md)" in index
    assert f"{MODELS[name].parameters:,}" in index


def test_cards_picture_shows_the_model(name, net, drawing):
    """Box for box and arrow for arrow, by what is written there."""
    boxes, arrows = drawing["stages"](net)
    drawn = ET.parse(_CARDS / f"{name}.svg").getroot()
    written = [texts(group) for group in groups(drawn, "node")]
    assert sorted(written) == sorted(
        [box.title, *(text for text, _ in box.lines), box.size_text] for box in boxes
    )
    written = [texts(group) for group in groups(drawn, "edge")]
    assert sorted(written) == sorted(text.splitlines() for _, _, text in arrows)


def groups(svg, kind):
    return svg.findall(f".//{{*}}g[@class='{kind}']")


def texts(group):
    return [element.text for element in group.findall(".//{*}text")]


def test_stages(drawing):
    net = models.VGGRGA(1, input_shape=(128, 128, 3), backbone_weights=None, filters=8)
    boxes, arrows = drawing["stages"](net)
    index = {box.title: place for place, box in enumerate(boxes)}
    assert boxes[index["decoder5"]].lines == [("3 × conv 3×3", False), ("RGA", True)]
    assert boxes[index["decoder4"]].size == (16, 16, 32)
    taken = {(boxes[start].title, boxes[end].title): text for start, end, text in arrows}
    assert len(taken) == len(arrows) == 1 + 4 + 1 + 4 + 2 * 3 + 1
    assert taken["image", "block1"] == "BGR − mean"
    assert taken["block4", "block5"] == "max ÷2"
    assert taken["decoder5", "decoder4"] == "nearest ×2"
    assert taken["block3", "integration3"] == taken["integration3", "decoder3"] == ""


def test_taps_within_a_stage(drawing):
    net = models.SARN(input_shape=(32, 32, 3), backbone_weights=None, filters=8)
    boxes, arrows = drawing["stages"](net)
    taken = {(boxes[start].title, boxes[end].title): text for start, end, text in arrows}
    assert taken["block2", "recurrent2"] == "conv1"
    assert taken["saliency", "map"] == "bilinear ×2"


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not installed")
def test_draws(drawing):
    net = models.VGGSSM(input_shape=(32, 48, 3), backbone_weights=None, filters=8)
    svg = ET.fromstring(drawing["draw"](net).pipe("svg"))
    boxes, arrows = drawing["stages"](net)
    assert len(groups(svg, "node")) == len(boxes)
    assert len(groups(svg, "edge")) == len(arrows)
    assert ["image", "32 × 48 × 3"] in [texts(group) for group in groups(svg, "node")]


def test_command(run_python):
    """At once: without Keras."""
    run_python(_COMMAND)


_COMMAND = """
import contextlib, io, os, sys
from keras_salnet.cli import main
from keras_salnet.models.registry import MODELS
os.environ.pop("COLUMNS", None)
output = io.StringIO()
with contextlib.redirect_stdout(output):
    assert main(["models"]) == 0
lines = output.getvalue().splitlines()
assert max(map(len, lines)) <= 80, lines
for name, entry in MODELS.items():
    (line,) = [line for line in lines if line.split()[:1] == [name]]
    assert f"{entry.parameters:,}" in line and line.rstrip().endswith(entry.source), line
assert any(line.split()[:3] == ["opensalicon", "29,430,401", "1200x1600"] for line in lines)
assert not {"keras", "tensorflow"} & sys.modules.keys()
"""
