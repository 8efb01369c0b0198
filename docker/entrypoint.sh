#!/bin/bash
# ROS first, then what was installed beside it; the command takes this process's place, so that signals reach it.
set -e
own_prefix=$AMENT_PREFIX_PATH
source "/opt/ros/${ROS_DISTRO:-humble}/setup.bash"
export AMENT_PREFIX_PATH=$own_prefix:$AMENT_PREFIX_PATH
exec "$@"
