"""A model to plan for."""

from planned_model import manifest

__all__ = ["manifest"]
