"""The semantic classes of the rendered rooms, in the order of their ids."""

CLASSES = (
    "wall",
    "floor",
    "ceiling",
    "door",
    "window",
    "cabinet",
    "bed",
    "chair",
    "sofa",
    "table",
    "screen",
    "person",
    "fixture",
    "object",
)


def class_id(name: str) -> int:
    """The id of a class name, as stored in label images."""
    return CLASSES.index(name)
