"""Files of saved maps, and what reading them gives or refuses."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from keras_salnet.data import Sample
from keras_salnet.evaluation.saved_maps import SavedMaps

SIZE = (24, 40)


def save(path, stored):
    """Write an array, or a dict of MATLAB's variables, as the path ends."""
    ending = path.suffix.lower()
    if ending == ".npy":
        with path.open("wb") as file:  # np.save would add its ending to one in capitals
            np.save(file, stored)
    elif ending == ".mat":
        scipy.io.savemat(path, stored if isinstance(stored, dict) else {"map": stored})
    else:
        path.write_bytes(cv2.imencode(ending, stored)[1].tobytes())
    return path


def samples(*names):
    return [Sample(Path("images") / f"{name}.jpg") for name in names]


def read(path):
    """The map in a file, by way of its image."""
    found = SavedMaps(path.parent)(f"images/{path.stem}.jpg")
    assert found.dtype == np.float64
    return found


def refusal(path):
    """Message for a file that is not a map: the same from reading it alone and from `check`."""
    maps = SavedMaps(path.parent)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as alone:
        maps(f"images/{path.stem}.jpg")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path.parent))}: ") as checked:
        maps.check(samples(path.stem))
    message = str(alone.value)
    assert str(checked.value).split("\n")[1:] == [f"  {message}"]
    return message.removeprefix(f"{path}: ")
