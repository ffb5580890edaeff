"""A camera and a subscriber by rclpy, with the classes of a ROS installation: DOMAIN COUNT RATE."""

import sys
from threading import Thread

import rclpy
from peer import Report, await_true, say
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image


def main():
    domain, count, rate = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    rclpy.init(domain_id=domain)
    node, report, classes = rclpy.create_node("peer"), Report(), []

    def receive(content):
        report.add(bytes(content))
        image = deserialize_message(content, Image)
        classes.append([image.encoding, image.height, image.width, len(image.data), image.header.frame_id])

    camera = node.create_publisher(Image, "/camera/image_raw", qos_profile_sensor_data)
    node.create_subscription(Image, "/segmentation", receive, qos_profile_sensor_data, raw=True)
    spinner = Thread(target=lambda: rclpy.spin(node), daemon=True)
    spinner.start()
    say("ready")
    await_true(lambda: camera.get_subscription_count() and node.count_publishers("/segmentation"), 30)
    say("matched")
    report.publish(lambda content: camera.publish(serialize_message(deserialize_message(content, Image))), count, rate)
    names = sorted(name for name, _ in node.get_topic_names_and_types())
    report.finish(typed=classes[:1], names=names, middleware=rclpy.get_rmw_implementation_identifier())
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
