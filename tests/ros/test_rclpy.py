"""rclpy on one side, with the middleware that it has; on the other the loop, by rclpy and by Cyclone."""

import os

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("rosbags", reason="rosbags (extra `ros2`) is not installed")

from trial import Loop, check_report, peer, report_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # rclpy's own


@pytest.mark.parametrize("transport", ["rclpy", "dds"])
@pytest.mark.parametrize(("count", "least"), [(40, 0.05), pytest.param(300, 0.5, marks=pytest.mark.slow)])
def test_a_loop_between_two_topics(transport, count, least):
    if transport == "dds":
        pytest.importorskip("cyclonedds")
    settings = f"?transport={transport}&domain={1 + os.getpid() % 100}&reliable=true"
    with (
        peer("rclpy_peer.py", 1 + os.getpid() % 100, count, 30) as process,
        Loop(f"/camera/image_raw{settings}", f"/segmentation{settings}", wait=True),
    ):
        found = report_of(process)
    print(found["middleware"], len(found["received"]), "of", count)  # noqa: T201
    check_report(found, count, least)
    assert found["typed"] == [["mono8", 360, 480, 360 * 480, "front"]]  # by the installation's own class
    assert {"/segmentation", "/segmentation/overlay/compressed", "/diagnostics"} <= set(found["names"])
