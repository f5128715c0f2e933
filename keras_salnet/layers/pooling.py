"""Averages over a grid that any frame is divided into."""

from keras import ops


def pool_to_grid(maps, grid):
    """Average maps of any size over grid x grid equal cells.

    A pixel that lies in several cells counts in each by the part of its area there, so that every
    pixel counts as much as any other; where there are fewer pixels than cells, they are repeated.
    The size need not be known before the call.

    Args:
        maps: (B, H, W, D), floating.
        grid: number of cells along either side.

    Returns:
        (B, grid², D), the cells row by row.

    Example:
        >>> import numpy as np
        >>> maps = np.arange(12.0, dtype="float32").reshape(1, 3, 4, 1)
        >>> np.asarray(pool_to_grid(maps, 2)).ravel().tolist()
        [1.83..., 3.83..., 7.16..., 9.16...]
    """
    _, height, width, _ = ops.shape(maps)
    depth = maps.shape[-1]
    maps = ops.matmul(_averages(width, grid, maps.dtype), maps)  # (B, H, grid, D)
    maps = ops.reshape(maps, (-1, height, grid * depth))
    maps = ops.matmul(_averages(height, grid, maps.dtype), maps)  # (B, grid, grid·D)
    return ops.reshape(maps, (-1, grid * grid, depth))


def _averages(size, grid, dtype):
    """Matrix (grid, size): what each pixel of a line contributes to each cell."""
    # In units of 1 / (size·grid) of the line, so that its ends are whole numbers.
    pixels = grid * ops.arange(size, dtype="int32")
    cells = size * ops.arange(grid, dtype="int32")[:, None]
    overlap = ops.minimum(pixels + grid, cells + size) - ops.maximum(pixels, cells)
    return ops.cast(ops.maximum(overlap, 0), dtype) / ops.cast(size, dtype)
