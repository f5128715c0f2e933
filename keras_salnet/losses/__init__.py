"""Losses between saliency maps, and the streaming metrics that training shows.

Importing this loads no Keras, so that the command line can list `LOSSES` at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "losses": [
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
    },
)

# Losses to train by: name → class.
LOSSES = {"saliency": "SaliencyLoss", "cross_entropy": "CrossEntropy", "edge_hold": "EdgeHoldLoss"}
