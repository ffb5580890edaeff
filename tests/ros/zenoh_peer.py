"""A camera and a subscriber on Zenoh, with the keys that rmw_zenoh uses, and the router: PORT COUNT RATE."""

import sys

import zenoh
from peer import Report, await_true, say
from zenoh.ext import HistoryConfig, declare_advanced_subscriber

HASH = "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"
TYPE = f"sensor_msgs::msg::dds_::Image_/{HASH}"


def main():
    port, count, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    config = zenoh.Config()
    config.insert_json5("mode", '"router"')
    config.insert_json5("listen/endpoints", f'["tcp/127.0.0.1:{port}"]')
    config.insert_json5("scouting/multicast/enabled", "false")
    report, labels, diagnostics, attachments = Report(), [], [], []

    def receive(sample):
        report.add(sample.payload.to_bytes())
        attachments.append(sample.attachment.to_bytes())

    with zenoh.open(config) as session:
        camera = session.declare_publisher(
            f"0/camera/image_raw/{TYPE}", congestion_control=zenoh.CongestionControl.DROP
        )
        session.declare_subscriber(f"0/segmentation/{TYPE}", receive)
        session.declare_subscriber("0/diagnostics/*/*", lambda sample: diagnostics.append(str(sample.key_expr)))
        history = HistoryConfig(detect_late_publishers=True, max_samples=1)
        kept = declare_advanced_subscriber(
            session,
            "0/segmentation/label_info/*/*",
            lambda sample: labels.append(str(sample.key_expr)),
            history=history,
        )
        say("ready")
        await_true(lambda: camera.matching_status.matching)
        say("matched")
        report.publish(camera.put, count, rate)
        tokens = []
        watch = session.liveliness().declare_subscriber(
            "@ros2_lv/**", lambda sample: tokens.append(str(sample.key_expr)), history=True
        )
        report.finish(
            labels=labels,
            diagnostics=len(diagnostics),
            tokens=tokens,
            attachments=sorted({(len(part), part[16]) for part in attachments}),
            numbers=[int.from_bytes(part[:8], "little") for part in attachments],
        )
        watch.undeclare()
        kept.undeclare()


if __name__ == "__main__":
    main()
