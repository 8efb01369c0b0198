"""What a robot has recorded, as pictures to learn from and others to be judged by."""

from pag_ros.lab.recordings.account import Account
from pag_ros.lab.recordings.importing import ImportOptions, import_recordings

__all__ = ["Account", "ImportOptions", "import_recordings"]
