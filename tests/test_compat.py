"""Importing BasicSR beside a current torchvision, and without BasicSR."""

import importlib.util
import re
import subprocess
import sys

import pytest
import torch
import torchvision.transforms.functional

from tests.helpers.forked import python
from tgjar_arch import compat

# The children below load compat.py by its path: importing the package would already have called prepare().
LOAD = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location('compat', {compat.__file__!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
"""


def test_prepare_imports_neither_torchvision_nor_basicsr() -> None:
    code = LOAD + 'compat.prepare(); print({"torch", "torchvision", "basicsr"} & set(sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'set()\n', done.stderr


def test_prepare_makes_stock_basicsr_importable() -> None:
    done = python('-c', LOAD + 'compat.prepare(); import basicsr.data.degradations as d; '
                        'print(d.rgb_to_grayscale.__module__)')
    assert done.stdout == 'torchvision.transforms.functional\n', done.stderr


def test_stand_in_computes_luma() -> None:
    module = compat._functional_tensor()
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    assert module.rgb_to_grayscale(red).item() == pytest.approx(0.2989)  # ITU-R BT.601, as torchvision has it
    assert module.rgb_to_grayscale is torchvision.transforms.functional.rgb_to_grayscale


def test_stand_in_says_what_it_lacks() -> None:
    with pytest.raises(AttributeError, match='rgb_to_grayscale only, not crop'):
        _ = compat._functional_tensor().crop


def test_prepare_twice_keeps_the_first_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, '_torchvision_has_functional_tensor', lambda: False)
    monkeypatch.delitem(sys.modules, compat.FUNCTIONAL_TENSOR, raising=False)
    compat.prepare()
    first = sys.modules[compat.FUNCTIONAL_TENSOR]
    compat.prepare()
    assert sys.modules[compat.FUNCTIONAL_TENSOR] is first
    assert importlib.util.find_spec(compat.FUNCTIONAL_TENSOR).name == compat.FUNCTIONAL_TENSOR


def test_old_torchvision_keeps_its_own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, '_torchvision_has_functional_tensor', lambda: True)
    monkeypatch.delitem(sys.modules, compat.FUNCTIONAL_TENSOR, raising=False)
    compat.prepare()
    assert compat.FUNCTIONAL_TENSOR not in sys.modules


def test_without_basicsr_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=re.escape(compat.INSTALL_BASICSR)):
        compat.require_basicsr()
    compat.prepare()  # what needs no BasicSR goes on
