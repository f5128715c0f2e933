"""The decoder that VGGRGA and VGGSSM share."""

from keras import layers

from keras_salnet.models.blocks import conv3x3, saliency_head

# Widths, in units of `filters`, of the convolutions of each decoder stage, from the deepest on.
_WIDTHS = ((8, 8, 8), (8, 8, 4), (4, 4, 4), (2, 1), (1, 1))
# Those of each skip's, by stage: VGG16's own.
_SKIP_WIDTHS = {4: 8, 3: 4, 2: 2}


def saliency_decoder(stages, filters=64, multi_level_integration=True, after_stage=None):
    """VGG16 in reversed order, with doublings for poolings, up to a map.

    Multi-level integration (MI) hands the encoder's features of the stages 4, 3 and 2 through three
    convolutions to the decoder.

    Args:
        stages: five features, each half as high and wide as the one before, such as
            `vgg16_stages` returns.
        filters: width of the last stage; 64 in the papers.
        multi_level_integration: add the three MI skips.
        after_stage: function (features, stage 5…1) → features, applied to what each stage returns
            before its doubling.

    Returns:
        Keras tensor (B, h, w, 1), float32 in [0, 1], of the size of the first stage.
    """
    x = stages[-1]
    for stage, widths in zip((5, 4, 3, 2, 1), _WIDTHS, strict=True):
        if stage < 5:
            x = layers.UpSampling2D(2, name=f"decoder{stage}_upsampling")(x)
            if multi_level_integration and stage in _SKIP_WIDTHS:
                skip, width = stages[stage - 1], _SKIP_WIDTHS[stage] * filters
                for number in (1, 2, 3):
                    skip = conv3x3(width, f"integration{stage}_conv{number}")(skip)
                x = layers.Concatenate(name=f"decoder{stage}_concatenate")([x, skip])
        for number, width in enumerate(widths, start=1):
            x = conv3x3(width * filters, f"decoder{stage}_conv{number}")(x)
        if after_stage is not None:
            x = after_stage(x, stage)
    return saliency_head(x)
