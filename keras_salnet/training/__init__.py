"""Recipes, and the training that follows them."""

import lazy_loader

from keras_salnet.training.recipes import RECIPES, Recipe

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"run": ["resume", "train"]})
__all__ = ["RECIPES", "Recipe", "resume", "train"]
