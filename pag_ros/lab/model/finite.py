"""Weights hold finite numbers only: one infinite variance ends all training, and hides well."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pag_ros.errors import ModelError


def find_non_finite(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Name -> how many of its values are infinite or NaN, of the tensors that have any."""
    counts = {
        name: int(value.numel() - value.isfinite().sum())
        for name, value in tensors.items()
        if value.is_floating_point()
    }
    return {name: count for name, count in counts.items() if count}


def require_finite(tensors: Mapping[str, Tensor], where: object) -> None:
    """Check that weights can be used.

    Args:
        tensors: by name.
        where: the file they come from or go to, for the message.

    Raises:
        ModelError: it names the first tensor that holds infinite values or NaN.
    """
    found = find_non_finite(tensors)
    if found:
        name, count = next(iter(found.items()))
        others = f", and in {len(found) - 1} other tensors" if len(found) > 1 else ""
        raise ModelError(
            f"{where}: {count} of {tensors[name].numel()} values of {name} are infinite or NaN"
            f"{others}; weights must be finite"
        )
