"""A few minutes of a borrowed GPU as training: what is carried there, and what it does with it."""
