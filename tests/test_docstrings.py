"""Every public name is documented, and every example in a docstring is true."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import keras_salnet

MODULES = [module.name for module in pkgutil.walk_packages(keras_salnet.__path__, "keras_salnet.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name):
    results = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert results.failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name):
    module = importlib.import_module(name)
    assert inspect.getdoc(module), f"{name} has no docstring"
    for attribute, value in vars(module).items():
        if attribute.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"{name}.{attribute} has no docstring"
