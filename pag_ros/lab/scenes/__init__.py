"""Rendered indoor scenes: pictures with exact metric depth, surface normals and classes."""

from pag_ros.lab.scenes.generate import render_dataset
from pag_ros.lab.scenes.walk import Walk, render_walk

__all__ = ["Walk", "render_dataset", "render_walk"]
