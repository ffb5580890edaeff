"""ROS 2 without a ROS installation: messages, names, and the buses that carry them."""
