"""Check that an exported model predicts what Keras does."""

import statistics

import numpy as np

from keras_salnet.metrics import correlation_coefficient
from keras_salnet.prediction.predictor import Predictor


def check_export(path, net, images, resize="stretch", minimum=0.999):
    """Compare an exported model with the Keras model that it was made from.

    Args:
        path: the exported model, in any format that `Predictor` loads.
        net: the Keras model.
        images: some images, as `Predictor` takes them.
        resize: how they are brought to the input size, ``"stretch"`` or ``"pad"``.
        minimum: the mean CC that the maps of the two must reach.

    Returns:
        List of floats, the CC of each image.

    Raises:
        ValueError: they agree less.
    """
    exported = Predictor.load(path)
    trained = Predictor(net, resize=resize)
    scores = [_agreement(exported(image), trained(image)) for image in images]
    if not statistics.mean(scores) >= minimum:
        raise ValueError(
            f"the exported model predicts other maps than Keras: the mean CC is "
            f"{statistics.mean(scores):.4f} on {len(scores)} images (lowest {min(scores):.4f}), "
            f"and must be at least {minimum}."
        )
    return scores


def _agreement(saliency, wanted):
    # Constant maps have no correlation.
    if np.allclose(saliency, wanted, atol=1e-4):
        return 1.0
    return correlation_coefficient(saliency, wanted)
