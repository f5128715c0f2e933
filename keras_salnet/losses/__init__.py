"""Losses between saliency maps, and the streaming metrics that training shows.

Importing this package does not load Keras, so the command line can list `LOSSES` at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "losses": [
            "CorrelationCoefficient",
            "CrossEntropy",
            "EdgeHoldLoss",
            "KLDivergence",
            "NormalizedScanpathSaliency",
            "SaliencyLoss",
            "Similarity",
        ],
        "streaming": ["FMeasure", "MeanAbsoluteError", "StreamingMetric", "streaming_metrics"],
    },
)

# Losses to train with: name → class.
LOSSES = {"saliency": "SaliencyLoss", "cross_entropy": "CrossEntropy", "edge_hold": "EdgeHoldLoss"}
