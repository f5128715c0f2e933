"""Draw the models' architectures from the built models, as the SVGs of their cards.

    python tools/draw.py [MODEL ...]

It needs Graphviz's `dot` and the extra `docs`. A box is a stage: the layers in a row whose names
begin alike, attention in orange, and the H × W × C of what leaves it. What only brings features to
another size is written at the arrow, and the layer where it does not leave from a stage's last.
Features of one size stand in one row.
"""

import argparse
import itertools
import re
from pathlib import Path
from typing import NamedTuple

import graphviz
import keras

from keras_salnet import models
from keras_salnet.layers import CaffePreprocessing, attention_names, create_attention
from keras_salnet.training.recipes import RECIPES

FOLDER = Path(__file__).parents[1] / "docs" / "models"

# Fill and line of a box; the text on it is dark, and lines and text beside it are grey, to be read
# on a white page as on a dark one.
COLOURS = {
    "encoder": ("#d0ebff", "#1c7ed6"),
    "other": ("#e9ecef", "#868e96"),
    "end": ("#ffffff", "#868e96"),
}
ATTENTION_COLOUR = "#ffa94d"
TEXT, GREY = "#212529", "#868e96"

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
ATTENTION = tuple({type(create_attention(name)) for name in attention_names()})
RESIZING = (
    keras.layers.AveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.Resizing,
    keras.layers.UpSampling2D,
)


class Stage(NamedTuple):
    """A box.

    Args:
        title: what its layers' names begin with.
        kind: key of `COLOURS`.
        lines: list of (what a layer does, whether it is attention).
        size: (H, W, C) of what leaves it.
    """

    title: str
    kind: str
    lines: list
    size: tuple

    @property
    def size_text(self):
        return " × ".join(map(str, self.size))


def stages(net):
    """The stages of a functional model.

    Returns:
        stages: list of `Stage`, in the order of the model's layers.
        arrows: list of (index of a stage, index of one that takes what leaves it, text).
    """
    groups, stage_of, taken = [], {}, []
    for layer in net.layers:
        if _is_arrow(layer):
            continue
        origins = [_follow(parent) for parent in _parents(layer)]
        same = [
            stage_of[origin]
            for origin, text in origins
            if not text and _prefix(origin) == _prefix(layer)
        ]
        if not same:
            groups.append([])
        stage_of[layer] = same[0] if same else len(groups) - 1
        groups[stage_of[layer]].append(layer)
        taken += [(origin, layer, text) for origin, text in origins]
    arrows = []
    for origin, layer, text in taken:
        start, end = stage_of[origin], stage_of[layer]
        if start != end:
            tap = "" if origin is groups[start][-1] else origin.name.rpartition("_")[-1]
            arrows.append((start, end, f"{tap}\n{text}".strip()))
    found = [_describe(group) for group in groups]
    last, text = _follow(net.output._keras_history.operation)
    if text:  # the map leaves the model through an arrow
        arrows.append((stage_of[last], len(found), text))
        found.append(Stage("map", "end", [], net.output.shape[1:]))
    return found, arrows


def _parents(layer):
    """The layers that a layer takes its inputs from."""
    inputs = layer._inbound_nodes[0].input_tensors
    return [tensor._keras_history.operation for tensor in inputs]


def _is_arrow(layer):
    return isinstance(layer, (*RESIZING, CaffePreprocessing))


def _follow(layer):
    """Back along an arrow: the layer it comes from, and the arrow's text."""
    texts = []
    while _is_arrow(layer):
        texts.insert(0, _arrow_text(layer))
        (layer,) = _parents(layer)
    return layer, "\n".join(texts)


def _prefix(layer):
    """'block5' of 'block5_conv3', 'fine_block5' of 'fine_block5_conv3', 'low' of 'low_conv'."""
    if isinstance(layer, keras.layers.Concatenate):  # is part of the stage that takes it
        layer = layer._outbound_nodes[0].operation
    return re.match(r"([a-z]+_)?[a-z]+\d|[a-z]+", layer.name)[0]


def _arrow_text(layer):
    if isinstance(layer, CaffePreprocessing):
        return "BGR − mean"
    if isinstance(layer, keras.layers.Resizing):
        return layer.interpolation
    if isinstance(layer, keras.layers.UpSampling2D):
        return f"{layer.interpolation} ×{layer.size[0]}"
    kind = "max" if isinstance(layer, keras.layers.MaxPooling2D) else "mean"
    return f"{kind} ÷{layer.pool_size[0]}"


def _describe(group):
    title = _prefix(group[-1])
    kind = "encoder" if "block" in title or "encoder" in title else "other"
    if isinstance(group[-1], keras.layers.InputLayer):
        kind = "end"
    texts = [
        (text, isinstance(layer, ATTENTION)) for layer in group if (text := _layer_text(layer))
    ]
    if title.startswith("encoder"):  # of keras.applications, too deep to be told layer by layer
        convolutions = [layer for layer in group if isinstance(layer, CONVOLUTIONS)]
        texts = [(f"{len(convolutions)} convolutions", False)]
    lines = []
    for (text, is_attention), same in itertools.groupby(texts):
        count = len(list(same))
        lines.append((f"{count} × {text}" if count > 1 else text, is_attention))
    return Stage(title, kind, lines, group[-1].output.shape[1:])


def _layer_text(layer):
    # An input's box says it all; the others follow each convolution.
    silent = (keras.layers.InputLayer, keras.layers.BatchNormalization, keras.layers.ReLU)
    if isinstance(layer, silent):
        return None
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return "deconv {}×{}".format(*layer.kernel_size)
    if isinstance(layer, keras.layers.SeparableConv2D):
        return "separable conv {}×{}".format(*layer.kernel_size)
    if isinstance(layer, keras.layers.Conv2D):
        return "conv {}×{}".format(*layer.kernel_size)
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", type(layer).__name__)
    is_ours = type(layer).__module__.startswith("keras_salnet.")
    return words if is_ours else words.lower()


def draw(net):
    """The picture of a functional model, a `graphviz.Digraph`."""
    boxes, arrows = stages(net)
    graph = graphviz.Digraph(net.name)
    graph.attr(bgcolor="transparent", ranksep="0.35", nodesep="0.4", margin="0.05")
    font = {"fontname": "Arial,Helvetica,sans-serif"}
    graph.attr("node", shape="plain", fontsize="12", fontcolor=TEXT, **font)
    graph.attr("edge", color=GREY, fontcolor=GREY, fontsize="11", arrowsize="0.7", **font)

    for size in sorted({box.size[:2] for box in boxes}, reverse=True):
        with graph.subgraph() as row:
            row.attr(rank="same")
            for index, box in enumerate(boxes):
                if box.size[:2] == size:
                    # Image and map may stand above the row of their size.
                    place = graph if box.kind == "end" else row
                    place.node(str(index), _box_label(box), group=box.title.rstrip("0123456789"))
    for start, end, text in arrows:
        lines = [(line, False) for line in text.splitlines()]
        label = _html(lines, 'BORDER="0"') if lines else ""
        if boxes[end].size[:2] > boxes[start].size[:2]:  # upwards
            graph.edge(str(end), str(start), label=label, dir="back")
        else:
            graph.edge(str(start), str(end), label=label)
    return graph


def _box_label(box):
    fill, line = COLOURS[box.kind]
    lines = [(f"<B>{box.title}</B>", False), *box.lines, (box.size_text, False)]
    return _html(lines, f'STYLE="ROUNDED" BORDER="1" BGCOLOR="{fill}" COLOR="{line}"')


def _html(lines, attributes):
    """Lines as for `Stage`, one below the other in a table, in Graphviz's HTML."""
    rows = []
    for text, is_attention in lines:
        colour = ATTENTION_COLOUR if is_attention else "transparent"
        rows.append(f'<TR><TD BGCOLOR="{colour}">{text}</TD></TR>')
    return (
        f'<<TABLE {attributes} CELLBORDER="0" CELLSPACING="0" CELLPADDING="3">'
        f"{''.join(rows)}</TABLE>>"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names (default: all)")
    for name in parser.parse_args().models or models.names():
        size = RECIPES[name].input_size
        net = models.create(name, input_shape=(*size, 3), backbone_weights=None)
        draw(net).render(outfile=FOLDER / f"{name}.svg", cleanup=True)


if __name__ == "__main__":
    main()
