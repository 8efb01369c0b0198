"""Gated vision transformers: pixels are tokens, and to leave one out takes no sparse kernel."""
