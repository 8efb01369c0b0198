"""The live node under test: images are played to it, what it publishes is booked and scored."""
