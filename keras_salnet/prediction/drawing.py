"""Drawings of an image and its map."""

from dataclasses import dataclass

from keras_salnet.images.visualize import COLORMAPS, crisp, heatmap, overlay, side_by_side, to_grey

KINDS = ("saliency", "overlay", "side_by_side")


@dataclass(frozen=True)
class Drawing:
    """A way to draw maps: function (image, saliency) → picture.

    Args:
        kind: ``"saliency"``, the map alone, ``"overlay"``, the map over the image, or
            ``"side_by_side"``, the image beside its overlay.
        colormap: one of `keras_salnet.images.visualize.COLORMAPS`; None: grey for the map alone and
            inferno over images.
        threshold: leave out what is below this part of a map's maximum, 0…1.
        opacity: of heat maps over images, at the map's maximum, 0…1.

    Raises:
        ValueError: an unknown kind or colour map, or a number out of its range.
    """

    kind: str = "overlay"
    colormap: str | None = None
    threshold: float = 0.0
    opacity: float = 0.6

    def __post_init__(self):
        for name, value, known in (
            ("kind", self.kind, KINDS),
            ("colormap", self.colormap, (None, *COLORMAPS)),
        ):
            if value not in known:
                known = ", ".join(filter(None, known))
                raise ValueError(f"{name} must be one of {known}, not {value!r}.")
        for name in ("threshold", "opacity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}.")

    def __call__(self, image, saliency):
        """Draw one map.

        Args:
            image: (H, W, 3) uint8 RGB.
            saliency: (H, W) floats ≥ 0, of the image's size.

        Returns:
            (H, W) uint8 grey, (H, W, 3) or (H, 2 W, 3) uint8 RGB.
        """
        saliency = crisp(saliency, self.threshold)
        if self.kind == "saliency":
            return heatmap(saliency, self.colormap) if self.colormap else to_grey(saliency)
        draw = overlay if self.kind == "overlay" else side_by_side
        return draw(image, saliency, self.colormap or "inferno", self.opacity)
