"""The decoder that VGGRGA and VGGSSM share."""

from keras import layers

from keras_salnet.models.backbones import conv3x3

# Width, in units of `filters`, of the convolutions of each decoder stage: 1/16 … 1/1 of the frame.
_WIDTHS = ((8, 8, 8), (8, 8, 4), (4, 4, 4), (2, 1), (1, 1))


def saliency_decoder(stages, filters=64, multi_level_integration=True, after_stage=None):
    """VGG16 in reversed order, with doublings for poolings, up to a map of the frame's size.

    Multi-level integration (MI) hands the encoder's features at 1/8, 1/4 and 1/2 through three
    convolutions to the decoder.

    Args:
        stages: what `vgg16_stages` returns.
        filters: width of the last stage; 64 in the papers.
        multi_level_integration: add the three MI skips.
        after_stage: function (features, stage 5…1) → features, applied to what each stage returns
            before its doubling.

    Returns:
        Keras tensor (B, H, W, 1), float32 in [0, 1].
    """
    x = stages[-1]
    for stage, widths in zip((5, 4, 3, 2, 1), _WIDTHS, strict=True):
        if stage < 5:
            x = layers.UpSampling2D(2, name=f"decoder{stage}_upsampling")(x)
            if multi_level_integration and stage > 1:
                skip = stages[stage - 1]
                for number in (1, 2, 3):
                    skip = conv3x3(skip.shape[-1], f"integration{stage}_conv{number}")(skip)
                x = layers.Concatenate(name=f"decoder{stage}_concatenate")([x, skip])
        for number, width in enumerate(widths, start=1):
            x = conv3x3(width * filters, f"decoder{stage}_conv{number}")(x)
        if after_stage is not None:
            x = after_stage(x, stage)
    # float32 also under mixed precision: losses and users need the small values.
    return layers.Conv2D(1, 1, activation="sigmoid", dtype="float32", name="saliency")(x)
