"""The table of attention.md: the attention layers, and what each costs at (16, 16, 512).

python tools/attention_table.py
"""

import inspect
import re

from keras_salnet import layers

SHAPE = (None, 16, 16, 512)


def table():
    """Lines of Markdown, one for each name."""
    lines = [
        "| name | class | source | parameters | any size |",
        "| --- | --- | --- | ---: | --- |",
    ]
    for name in layers.attention_names():
        layer = layers.create_attention(name)
        layer.build(SHAPE)
        parameters = sum(weight.numpy().size for weight in layer.trainable_weights)
        source = re.search(r"\((.*)\)\.$", inspect.getdoc(type(layer)).splitlines()[0])
        cells = (
            f"`{name}`",
            f"`{type(layer).__name__}`",
            source[1] if source else "",
            f"{parameters:,}",
            _any_size(name),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _any_size(name):
    for arguments, answer in (({}, "yes"), ({"max_nodes": 1024}, "with `max_nodes`")):
        try:
            layers.create_attention(name, **arguments).build((None, None, None, 512))
        except (TypeError, ValueError):
            continue
        return answer
    return "no"


if __name__ == "__main__":
    print("\n".join(table()))
