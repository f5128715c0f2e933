"""Losses between saliency maps, and the streaming metrics that training shows."""

from keras_salnet.losses.losses import (
    CorrelationCoefficient,
    CrossEntropy,
    EdgeHoldLoss,
    FMeasure,
    KLDivergence,
    MeanAbsoluteError,
    NormalizedScanpathSaliency,
    SaliencyLoss,
    Similarity,
    StreamingMetric,
    streaming_metrics,
)

__all__ = [
    "CorrelationCoefficient",
    "CrossEntropy",
    "EdgeHoldLoss",
    "FMeasure",
    "KLDivergence",
    "MeanAbsoluteError",
    "NormalizedScanpathSaliency",
    "SaliencyLoss",
    "Similarity",
    "StreamingMetric",
    "streaming_metrics",
]
