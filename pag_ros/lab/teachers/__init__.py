"""Networks of others that label pictures which have no truth: depth, or classes."""

from pag_ros.lab.teachers.labelling import label_dataset, label_pictures
from pag_ros.lab.teachers.spec import TeacherSpec, parse_teacher

__all__ = ["TeacherSpec", "label_dataset", "label_pictures", "parse_teacher"]
