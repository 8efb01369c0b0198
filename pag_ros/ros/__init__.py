"""The ROS 2 node: everything that touches rclpy or ROS messages, and nothing else."""
