"""The functional graph around a model that training fits."""

import keras

from keras_salnet.data.augmentation import WARP_SIZE, Augment


class TrainingModel(keras.Model):
    """A functional model whose targets are among its outputs.

    Augmentation moves image and map together, so the target map exists only inside the graph. It is
    an output next to the prediction. The two hooks below, which `fit` calls on every backend, pass
    both to the compiled loss and metrics. The train step is Keras's own.
    """

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return super().compute_loss(
            x, y_pred["density"], y_pred["saliency"], y_pred["mask"], training
        )

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return super().compute_metrics(x, y_pred["density"], y_pred["saliency"], y_pred["mask"])


def training_graph(net, augment=True):
    """{image, density, mask, warp} → `Augment` → {saliency: net(image), density, mask}.

    Args:
        net: functional model (B, H, W, 3) → (B, H, W, 1).
        augment: False leaves `Augment` out.

    Returns:
        `TrainingModel` to compile and fit on the batches of `keras_salnet.data`. It shares the
        weights of `net`.
    """
    _, height, width, _ = net.input_shape
    inputs = {
        "image": keras.Input((height, width, 3), name="image"),
        "density": keras.Input((height, width, 1), name="density"),
        "mask": keras.Input((height, width, 1), name="mask"),
        "warp": keras.Input((WARP_SIZE,), name="warp"),
    }
    seen = Augment(name="augment")(inputs) if augment else inputs
    outputs = {
        "saliency": net(seen["image"]),
        "density": seen["density"],
        "mask": seen["mask"],
    }
    return TrainingModel(inputs, outputs, name=f"{net.name}_training")
