"""Whether an exported model still predicts what Keras does."""

import statistics

import numpy as np

from keras_salnet.metrics import correlation_coefficient
from keras_salnet.prediction.predictor import Predictor


def check_export(path, net, images, resize="stretch", least=0.999):
    """Run an exported model beside the Keras model that it was made of.

    Args:
        path: what was exported; whatever `Predictor` loads.
        net: the Keras model.
        images: what `Predictor` predicts for, some.
        resize: how they are brought into the frame, ``"stretch"`` or ``"pad"``.
        least: the mean CC between the maps of the two that is good enough.

    Returns:
        List of floats, the CC of each image.

    Raises:
        ValueError: they agree less.
    """
    exported = Predictor.load(path)
    trained = Predictor(net.predict_on_batch, net.input_shape[1:3], resize)
    scores = [_agreement(exported(image), trained(image)) for image in images]
    if not statistics.mean(scores) >= least:
        raise ValueError(
            f"the exported model predicts other maps than Keras: their mean CC is "
            f"{statistics.mean(scores):.4f} on {len(scores)} images (lowest {min(scores):.4f}), "
            f"and must be {least}."
        )
    return scores


def _agreement(saliency, wanted):
    # Two maps that are all the same have no correlation.
    if np.allclose(saliency, wanted, atol=1e-4):
        return 1.0
    return correlation_coefficient(saliency, wanted)
