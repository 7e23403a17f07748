"""The values of a dataset's options: what is not as said raises, naming the key."""

from collections.abc import Mapping
from typing import Any


def one_of(opt: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    """Return `opt[key]`, which must be one of `choices`."""
    if opt.get(key) not in choices:
        raise ValueError(f'{key} must be one of {", ".join(choices)}, but is {opt.get(key)!r}.')
    return opt[key]


def whole(opt: Mapping[str, Any], key: str, default: int | None) -> int | None:
    """Return `opt[key]`, a whole number from 1 up, or `default` where it is missing or ~."""
    value = opt.get(key, default)
    if key in opt and value is None:
        value = default
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f'{key} must be a whole number from 1 up, but is {value!r}.')
    return value


def probability(opt: Mapping[str, Any], key: str, default: float) -> float:
    """Return `opt[key]`, a number from 0 to 1, or `default` where it is missing."""
    value = opt.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f'{key} must be a probability from 0 to 1, but is {value!r}.')
    return float(value)


def scale_range(opt: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """Return `opt[key]`, two factors above 0 in their order, or None where it is missing or ~."""
    value = opt.get(key)
    if value is None:
        return None
    numbers = isinstance(value, list | tuple) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    if not numbers or not 0 < value[0] <= value[1]:
        raise ValueError(f'{key} must be two factors above 0, the smaller first, such as [0.3, 1], but is {value!r}.')
    return float(value[0]), float(value[1])
