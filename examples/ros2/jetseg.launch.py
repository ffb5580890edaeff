"""Starts a camera and jetseg beside it: ros2 launch ./jetseg.launch.py engine:=/vehicle/engines/current.

jetseg is a program of its own here, with its own Python; it reaches ROS 2 by the middleware of RMW_IMPLEMENTATION.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description():
    """Describes what is started."""
    arguments = [
        DeclareLaunchArgument("engine", default_value="camvid-light", description="Engine, or a shipped network."),
        DeclareLaunchArgument("image", default_value="/camera/image_raw", description="Topic of the camera."),
        DeclareLaunchArgument("output", default_value="/segmentation", description="Topic of the class maps."),
        DeclareLaunchArgument(
            "jetseg", default_value="jetseg", description="The program, as in /opt/jetseg/bin/jetseg."
        ),
    ]
    camera = Node(
        package="image_tools",
        executable="cam2image",
        parameters=[{"burger_mode": True, "frequency": 30.0, "width": 480, "height": 360}],
        remappings=[("image", LaunchConfiguration("image"))],
    )
    jetseg = ExecuteProcess(
        cmd=[
            LaunchConfiguration("jetseg"),
            "run",
            LaunchConfiguration("engine"),
            "--source",
            ["ros2:", LaunchConfiguration("image")],
            "--wait",
            "--ros2",
            LaunchConfiguration("output"),
        ],
        output="screen",
        respawn=True,
        respawn_delay=1.0,
    )
    return LaunchDescription([*arguments, camera, jetseg])
