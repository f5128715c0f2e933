"""Explain a model: masks and strongest channels of its attention layers, and Grad-CAM."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_salnet.files import atomic
from keras_salnet.images.geometry import Placement, resample
from keras_salnet.images.visualize import heatmap, overlay
from keras_salnet.layers.gating import Gate, SpatialChannelGate
from keras_salnet.models.loading import fixed_input_size


@dataclass(frozen=True)
class Attention:
    """The effect of one attention layer on one image.

    Args:
        name: of the layer.
        mask: (h, w) float32 in [0, 1], the weights of the layer's pixels; None where it has none.
        weights: (C,) float32 in [0, 1], those of its channels; None where it has none.
        strongest: (k, h, w) float32, what the channels of the largest weights hold before they are
            weighed, the largest first; without `weights`, those of the largest means.
        channels: their k places among all, ints.
    """

    name: str
    mask: np.ndarray | None
    weights: np.ndarray | None
    strongest: np.ndarray
    channels: list[int]


def explain(model, image, strongest=4):
    """Look into the attention layers of a model.

    Args:
        model: functional `keras.Model` of this package, images (B, H, W, 3) → maps.
        image: (H, W, 3) RGB, 0…255, in the model's frame.
        strongest: how many channels of each layer are kept, int ≥ 0.

    Returns:
        List of `Attention`, one for each layer that gates its input (`layers.RGA`, CBAM, …), in the
        model's order.

    Raises:
        ValueError: the model has no such layer.
    """
    gates = _gates(model)
    inputs = keras.Model(model.input, [gate.input for gate in gates])
    features = inputs(np.asarray(image, np.float32)[None], training=False)
    return [
        _explain(gate, feature, strongest)
        for gate, feature in zip(gates, keras.tree.flatten(features), strict=True)
    ]


def _gates(model):
    gates = [layer for layer in model.layers if isinstance(layer, Gate)]
    if not gates:
        raise ValueError(f"{model.name}: the model has no attention layer to look into.")
    return gates


def _explain(gate, feature, strongest):
    mask = weights = None
    for attention in _attentions(gate, feature):
        attention = _to_numpy(attention)[0]  # (h, w, 1) or (1, 1, C)
        if attention.shape[-1] == 1:
            mask = attention[..., 0]
        else:
            weights = attention[0, 0]
    maps = _to_numpy(feature)[0]
    order = np.argsort(-(maps.mean((0, 1)) if weights is None else weights), kind="stable")
    channels = order[:strongest].tolist()
    return Attention(gate.name, mask, weights, maps[..., channels].transpose(2, 0, 1), channels)


def _attentions(gate, feature):
    """Those of a gate, or of its two: (1, h, w, 1) and (1, 1, 1, C)."""
    if not isinstance(gate, SpatialChannelGate):
        return [gate.attention(feature)]
    attentions = []
    for part in gate.parts():
        attentions.append(part.attention(feature))
        if gate.order != "parallel":
            feature = feature * attentions[-1]
    return attentions


def grad_cam(model, image, layer):
    """Which parts of a layer's output raise the prediction: Grad-CAM.

    Selvaraju et al., "Grad-CAM", ICCV 2017, with the mean of the predicted map for the score of a
    class: relu(Σ_k α_k A_k), where α_k is the mean gradient of the score by the channel A_k.

    Args:
        model, image: as in `explain`.
        layer: name of the layer, whose output is (B, h, w, C).

    Returns:
        (h, w) float32 ≥ 0, its maximum 1 unless it is all zeros.

    Raises:
        ValueError: there is no such layer.
        NotImplementedError: on the JAX backend, where no gradient by an inner feature is at hand.
    """
    both = keras.Model(model.input, [model.get_layer(layer).output, model.output])
    features, gradients = _gradients(both, np.asarray(image, np.float32)[None])
    cam = np.maximum(features[0] @ gradients[0].mean((0, 1)), 0)
    return cam / (cam.max() or 1)


def draw_attention(model, image, path, resize="stretch", strongest=4, input_size=None):
    """Draw what a model attends to in an image, as the RGA paper's Figures 1 and 5 do.

    The first row is the image, the prediction and, but on JAX, the Grad-CAM of the deepest layer
    with attention; then comes a row for each such layer: its mask, from its least to its largest
    value, and its strongest channels with their weights.

    Args:
        model: as in `explain`.
        image: (h, w, 3) uint8 RGB, of any size.
        path: the PNG to write.
        resize: how the image is brought into the model's frame, ``"stretch"`` or ``"pad"``.
        strongest: how many channels are drawn, int ≥ 0.
        input_size: (height, width) of the frame; for a model that takes any. None: the model's.

    Raises:
        ValueError: the model has no attention layer, or takes any frame and none is given.
    """
    from matplotlib.figure import Figure

    input_size = input_size or fixed_input_size(model)
    placement = Placement(image.shape[:2], input_size, resize)
    framed = placement.image(image)

    def over(mask):
        return overlay(image, placement.undo(resample(mask[..., None], input_size)[..., 0]))

    attentions = explain(model, framed, strongest)
    rows = [[("image", image), ("prediction", over(_to_numpy(model(framed[None]))[0, ..., 0]))]]
    if keras.backend.backend() != "jax":
        deepest = min(attentions, key=lambda attention: attention.strongest[0].size).name
        rows[0].append((f"Grad-CAM of {deepest}", over(grad_cam(model, framed, deepest))))
    for attention in attentions:
        row = [(attention.name, image)]
        if attention.mask is not None:
            low, high = attention.mask.min(), attention.mask.max()
            title = f"{attention.name}: {low:.2f} … {high:.2f}"
            row = [(title, over(attention.mask - low))]
        for number, channel in zip(attention.channels, attention.strongest, strict=True):
            weight = "" if attention.weights is None else f": {attention.weights[number]:.2f}"
            # ReLU comes before the attention of the models here; another layer may go below 0.
            row.append((f"channel {number}{weight}", heatmap(np.maximum(channel, 0))))
        rows.append(row)

    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(2.6 * columns, 2.2 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for row, pictures in enumerate(rows):
        for axis, (title, picture) in zip(axes[row], pictures, strict=False):
            axis.imshow(picture, aspect="auto" if picture.shape != image.shape else "equal")
            axis.set_title(title, fontsize=8)
    with atomic(path) as draft:
        figure.savefig(draft, dpi=120)


def _gradients(both, images):
    """(features, the gradients of the mean prediction by them), (1, h, w, C) each."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            images = tf.constant(images)
            tape.watch(images)
            features, saliency = both(images, training=False)
            score = tf.reduce_mean(saliency)
        return _to_numpy(features), _to_numpy(tape.gradient(score, features))
    if backend == "torch":
        import torch

        images = keras.ops.convert_to_tensor(images).requires_grad_()
        features, saliency = both(images, training=False)
        (gradients,) = torch.autograd.grad(saliency.mean(), features)
        return _to_numpy(features), _to_numpy(gradients)
    raise NotImplementedError(f"Grad-CAM is not for the {backend} backend.")


def _to_numpy(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
