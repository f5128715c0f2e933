"""Attention in any network."""

import keras

from keras_salnet.layers import create_attention


def attach_attention(backbone, layer_names, attention="rga_sc", **options):
    """Put attention after some layers of a model, whatever it is for.

    The RGA paper (Zhang et al., CVPR 2020, Section 4.1) attends after each of the four stages of
    ResNet-50.

    Args:
        backbone: functional `keras.Model`, such as one of `keras.applications`.
        layer_names: names of the layers, each with an output (B, H, W, C).
        attention: one of `keras_salnet.layers.attention_names()`.
        **options: further arguments of the attention layers, such as `ratio`.

    Returns:
        `keras.Model` of the backbone's inputs and outputs. It shares the backbone's layers, and so
        their weights, and has new layers ``NAME_ATTENTION``.

    Raises:
        ValueError: the backbone is not functional, or has no layer of a name; an unknown attention;
            whatever the attention refuses.

    Example:
        >>> resnet = keras.applications.ResNet50(
        ...     weights=None, include_top=False, input_shape=(256, 128, 3)
        ... )
        >>> ends = ("conv2_block3", "conv3_block4", "conv4_block6", "conv5_block3")
        >>> model = attach_attention(resnet, [f"{end}_out" for end in ends])
        >>> model.layers[-1].name
        'conv5_block3_out_rga_sc'
    """
    if not isinstance(backbone, keras.Model) or isinstance(backbone, keras.Sequential):
        raise ValueError("backbone must be a functional keras.Model.")
    unknown = set(layer_names) - {layer.name for layer in backbone.layers}
    if unknown or not layer_names:
        raise ValueError(
            f"{backbone.name} has no layer {', '.join(sorted(unknown)) or 'without a name'}; its "
            f"last ones are {', '.join(layer.name for layer in backbone.layers[-5:])}."
        )

    def call(layer, *arguments, **keywords):
        outputs = layer(*arguments, **keywords)
        if layer.name in layer_names:
            name = f"{layer.name}_{attention}"
            outputs = create_attention(attention, name=name, **options)(outputs)
        return outputs

    return keras.models.clone_model(
        backbone, clone_function=lambda layer: layer, call_function=call
    )
