"""A dataset x a model → scores, in a table and in JSON."""

from keras_salnet.evaluation.scores import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
