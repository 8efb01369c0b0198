"""Camera images: messages to pixels, the network's input size and back, pictures for people."""
