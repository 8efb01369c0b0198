"""Comparisons with other methods as they are stored, and the page made of them."""
