"""The errors a user can meet: every message says what is wrong, where, and what would be right."""


class PagError(Exception):
    """Base of all errors this package raises on purpose; the command line prints it in one line."""


class ModelError(PagError):
    """A model file or its manifest is missing, damaged, unsafe or does not fit."""


class BackendError(PagError):
    """An inference backend is not installed, or refuses the model on this machine."""


class ImageError(PagError):
    """An image or image message cannot be read: encoding, size or contents."""


class BagError(PagError):
    """A bag is missing, damaged, or lacks the topics asked for."""


class DatasetError(PagError):
    """A dataset or raw material is missing, damaged, or in another layout than documented."""


class TrainingError(PagError):
    """Training cannot go on: what it computes is no longer a number."""


class ParameterError(PagError):
    """A parameter or option has a value outside what it may be."""


class NodeError(PagError):
    """The ROS node, or ROS itself, is not there or does not answer."""
