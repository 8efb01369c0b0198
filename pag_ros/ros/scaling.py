"""Sets the scale of a camera's depth by the node's parameters: its height, or a frame of /tf."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from pag_ros.errors import ImageError
from pag_ros.image.camera_info import intrinsics
from pag_ros.manifest import Manifest
from pag_ros.ros.ground import GroundFrame
from pag_ros.ros.logger import Logger
from pag_ros.ros.parameters import PITCH_UNKNOWN, Settings
from pag_ros.ros.remedies import WARN_EVERY_S
from pag_ros.runtime.camera_scale import CameraScale, Rescale
from pag_ros.runtime.floor_scale import Mount
from pag_ros.runtime.scale_filter import ScaleReport


class DepthScaling:
    """The scale of one camera's depth, as the parameters want it.

    Args:
        manifest: of the model.
        settings: of the node; `apply` replaces them.
        ground: tells where the camera is if `ground_frame` is set.
        logger: of the camera.

    Raises:
        ParameterError: the model cannot tell where the floor is, though the parameters need it.
    """

    def __init__(
        self, manifest: Manifest, settings: Settings, ground: GroundFrame | None, logger: Logger
    ) -> None:
        self._manifest = manifest
        self._ground = ground
        self._logger = logger
        self._fixed: Mount | None = None
        self._scale: CameraScale | None = None
        self.apply(settings)

    @property
    def report(self) -> ScaleReport | None:
        """Of the newest picture with depth; None if nothing is known of the camera's height."""
        return None if self._scale is None else self._scale.report

    def apply(self, settings: Settings) -> None:
        """Obey new parameters; another height or pitch begins anew.

        Raises:
            ParameterError: see the class.
        """
        fixed = _fixed_mount(settings)
        if fixed is None and self._ground is None:
            self._scale = None
        elif self._scale is None or fixed != self._fixed:
            self._scale = CameraScale(self._manifest)
        self._fixed = fixed

    def of_frame(
        self, header: Header, info: CameraInfo | None, width: int, height: int, arrived_s: float
    ) -> Rescale | None:
        """What sets the scale of a picture's depth; None leaves the network's.

        Args:
            header: of the picture.
            info: of the camera.
            width, height: of the picture, pixels; it shows what `info` describes.
            arrived_s: stands in for the picture's stamp where that is zero.
        """
        if self._scale is None or info is None:
            return None
        camera = intrinsics(info, width, height)
        if camera is None:
            return None
        stamp_s = header.stamp.sec + header.stamp.nanosec * 1e-9
        return self._scale.of_frame(camera, self._mount(header.frame_id), stamp_s or arrived_s)

    def _mount(self, camera_frame: str) -> Mount | None:
        if self._ground is None:
            return self._fixed
        try:
            return self._ground.mount_of(camera_frame)
        except ImageError as error:
            self._logger.warning(
                f"ground_frame: {error}; the depth keeps the scale that it has",
                throttle_duration_sec=WARN_EVERY_S,
                skip_first=True,  # the first picture may be a moment ahead of the transforms
            )
            return None


def _fixed_mount(settings: Settings) -> Mount | None:
    if not settings.camera_height:
        return None
    pitch = settings.camera_pitch
    return Mount.pitched(settings.camera_height, None if pitch == PITCH_UNKNOWN else pitch)
