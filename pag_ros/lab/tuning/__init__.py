"""Fine-tuning on a robot's own recording: whether the model became better, and the report of it."""
