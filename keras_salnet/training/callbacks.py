"""What happens beside `fit` that Keras's own callbacks do not do."""

import keras

from keras_salnet.files import atomic


class BestWeights(keras.callbacks.Callback):
    """Write a model's weights whenever the validation loss is the best so far.

    Not Keras's ModelCheckpoint: that would save the graph around the model, and its optimizer.

    Args:
        net: the model inside the training graph.
        path: the ``.weights.h5`` file, replaced atomically.
    """

    def __init__(self, net, path):
        super().__init__()
        self.net = net
        self.path = path
        self.best = float("inf")

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            with atomic(self.path) as draft:
                self.net.save_weights(draft)
