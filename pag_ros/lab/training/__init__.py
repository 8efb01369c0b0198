"""Training of networks for every budget."""
