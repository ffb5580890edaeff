"""Settings of a run: its source, the loop, where frames go, and what watches them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from jetseg.config import Cli, Settings
from jetseg.monitor.config import MonitorConfig


class LiveLimits(Settings):
    """How long a camera may take."""

    silent: float = Field(
        1.0, description="Seconds without a whole frame until it counts as stalled; three frames at a slow one's rate."
    )
    hung: float = Field(
        6.0,
        description="Seconds for opening, or without a whole frame, until the connection is given up; longer than the "
        "limits of FFmpeg and V4L2, so that they end first.",
    )
    first_pause: float = Field(
        0.1, description="Seconds before opening it again; each further attempt waits twice as long, with jitter."
    )
    longest_pause: float = Field(1.5, description="The longest of these pauses, in seconds.")


class LadderConfig(Settings):
    """When the engine is changed for a lighter or a better one."""

    window_seconds: float = Field(
        1.0, description="A step down follows when half of the frames of this time were late."
    )
    calm_seconds: float = Field(
        10.0,
        description="A step up follows after this time with hardly a late frame; it doubles with each step up that "
        "did not last, until one does.",
    )
    longest_calm_seconds: float = Field(160.0, description="The most that it becomes.")
    cooling_seconds: float = Field(
        20.0, description="Time that a step down is given to lower the heat, before the next one."
    )


class SourceConfig(Settings):
    """Which frames of a source, and how they come."""

    split: str = Field("test", description="Split of a dataset.")
    labels: bool | None = Field(
        None, description="Measure mIoU against the source's labels; by default where it has them."
    )
    pace: Annotated[float | None, Cli(metavar="FPS")] = Field(
        None,
        ge=0.2,
        description="Feed files or a dataset as a live camera: frames come at this rate, late ones are dropped.",
    )
    wait: bool = Field(False, description="Wait for a camera that is not there yet, instead of ending.")


class LoopConfig(Settings):
    """When the loop ends, what is late, and how the overlay looks."""

    seconds: float | None = Field(None, gt=0, description="End after this time.")
    frames: int | None = Field(None, gt=0, description="End after this many frames.")
    alpha: float = Field(0.5, ge=0, le=1, description="Weight of the class colors, 0 to 1.")
    legend: bool = Field(False, description="Draw the list of classes.")
    deadline_ms: Annotated[float | None, Cli(metavar="MS")] = Field(
        None, gt=0, description="Count frames that are older than this when their class map is ready."
    )
    watchdog_seconds: Annotated[float, Cli(flag="--watchdog", metavar="SECONDS")] = Field(
        10.0, ge=0.5, description="End with exit code 4 if a stage hangs on one frame for this long."
    )


class OutputConfig(Settings):
    """Where processed frames and figures go."""

    output: Annotated[Path | None, Cli(metavar="FILE.mp4")] = Field(
        None, description="Record the frames with colored classes."
    )
    show: bool = Field(False, description="Show the frames in a window; q ends.")
    record: Annotated[Path | None, Cli(metavar="DIR")] = Field(
        None, description="Record the frames with colored classes in segments, which survive even a power cut."
    )
    segment_seconds: float = Field(60.0, ge=1.0, description="Length of a recorded segment.")
    record_gb: Annotated[float | None, Cli(metavar="GB")] = Field(
        None, ge=0.01, description="Delete the oldest segments in the folder of a recording beyond this size."
    )
    record_mcap: Annotated[Path | None, Cli(metavar="DIR")] = Field(
        None,
        description="Record frames, class maps, figures and events as MCAP files, in segments like those of `record`, "
        "for `jetseg replay` and other tools of ROS 2.",
    )
    mcap_jpeg: bool = Field(
        False, description="Frames in MCAP files are JPEG: a tenth of the size, and no longer the same pixels."
    )
    collect: Annotated[Path | None, Cli(metavar="DIR")] = Field(
        None, description="Keep the frames of which labels would teach most, as a dataset without labels."
    )
    collect_gb: Annotated[float, Cli(metavar="GB")] = Field(
        1.0, ge=0.001, description="What DIR may hold; a better frame takes the place of a worse one."
    )
    class_maps: Annotated[Path | None, Cli(metavar="DIR")] = Field(
        None, description="Write every class map as an 8-bit PNG of ids."
    )
    ring: Annotated[str | None, Cli(metavar="NAME")] = Field(
        None, description="Give class maps to other processes in shared memory; see jetseg.camera.sinks.ring."
    )
    publish: Annotated[str | None, Cli(metavar="ADDRESS")] = Field(
        None, description="Publish class maps and their statistics over ZeroMQ, as in tcp://127.0.0.1:5556."
    )
    ros2: Annotated[str | None, Cli(metavar="TOPIC")] = Field(
        None,
        description="Publish class maps, an overlay, the classes and diagnostics to ROS 2, as in /segmentation or "
        "/segmentation?domain=7&transport=zenoh.",
    )
    log: Annotated[Path | None, Cli(metavar="DIR|FILE")] = Field(
        None, description="Write events and figures as JSON lines in files that rotate."
    )
    metrics: Annotated[int | None, Cli(metavar="PORT")] = Field(
        None, ge=0, le=65535, description="Serve /metrics for Prometheus."
    )
    dashboard: Annotated[int | None, Cli(metavar="PORT")] = Field(
        None, ge=0, le=65535, description="Serve a page that shows the run."
    )
    foxglove: Annotated[int | None, Cli(metavar="PORT")] = Field(
        None, ge=0, le=65535, description="Show frames, class maps, figures and events in Foxglove, usually on 8765."
    )
    rtsp: Annotated[int | None, Cli(metavar="PORT")] = Field(
        None,
        ge=1,
        le=65535,
        description="Serve the frames with colored classes as rtsp://HOST:PORT/live, usually on 8554.",
    )
    gstreamer: Annotated[str | None, Cli(metavar="PIPELINE")] = Field(
        None,
        description="Push the frames with colored classes into a pipeline of GStreamer, as in 'appsrc ! videoconvert ! "
        "x264enc tune=zerolatency ! rtph264pay ! udpsink host=10.0.0.5 port=5600'.",
    )
    mqtt: Annotated[str | None, Cli(metavar="URL")] = Field(
        None,
        description="Send figures and events to an MQTT broker, as in mqtt://10.0.0.5/vehicle7; @FILE or env:NAME for "
        "one with a password.",
    )
    dashboard_host: Annotated[str, Cli(metavar="ADDRESS")] = Field(
        "127.0.0.1",
        description="Where dashboard, metrics, Foxglove and RTSP listen. Beyond loopback, anyone who reaches the port "
        "sees the camera.",
    )


class RunConfig(OutputConfig, MonitorConfig, LoopConfig, SourceConfig):
    """Settings of a run."""
