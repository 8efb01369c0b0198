"""A model to plan for, and a machine that runs the plans."""

from planned_model import machine, manifest, table

__all__ = ["machine", "manifest", "table"]
