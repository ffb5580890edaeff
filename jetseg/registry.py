"""The parts that jetseg is put together from, by name: its own, and those that other packages bring.

A package brings a part by an entry point, in its own pyproject.toml:

    [project.entry-points."jetseg.datasets"]
    mapillary = "my_package.mapillary:Mapillary"

No file of jetseg changes: the name is listed in the help and can be used wherever a name of jetseg's own can.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from jetseg.errors import ConfigError, JetsegError

T = TypeVar("T")


@dataclass(frozen=True)
class Registry(Generic[T]):
    """Parts of one kind.

    Attributes:
        kind: What they are, for messages.
        group: Entry-point group by which other packages add to them.
        own: Those that come with jetseg, as "module:attribute"; nothing is imported before it is asked for.
        needs: Attributes that a part must have.
    """

    kind: str
    group: str
    own: Mapping[str, str]
    needs: tuple[str, ...] = ()
    _loaded: dict[str, T] = field(default_factory=dict, repr=False, compare=False)

    def names(self) -> tuple[str, ...]:
        """Returns the names of all parts, those of jetseg first."""
        return (*self.own, *sorted(name for name in self._foreign if name not in self.own))

    def __contains__(self, name: str) -> bool:
        """Tells whether there is a part of this name."""
        return name in self.own or name in self._foreign

    def get(self, name: str) -> T:
        """Imports a part.

        Raises:
            ConfigError: There is no such part; the names that exist are listed. Or the package that brings it is
                broken, or two packages bring it.
            MissingDependencyError: It needs a library that is not installed.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    @contextmanager
    def calling(self, name: str) -> Iterator[None]:
        """Turns whatever a part of another package raises in the block into an error that names the part.

        Raises:
            ConfigError: It raised something that is no `JetsegError`.
        """
        try:
            yield
        except JetsegError:
            raise
        except Exception as error:
            if name in self.own:
                raise
            raise ConfigError(
                f"The {self.kind} {name} ({self._foreign[name][0].value}) failed: {type(error).__name__}: {error}.",
                "Correct what it was given, or repair or uninstall the package that brings it; "
                "`jetseg --debug` shows where.",
            ) from error

    @cached_property
    def _foreign(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            if point not in found.setdefault(point.name, []):  # a package found twice on the path
                found[point.name].append(point)
        return found

    def _load(self, name: str) -> T:
        if name in self.own:
            module, _, attribute = self.own[name].partition(":")
            part: T = getattr(importlib.import_module(module), attribute)
            return part
        points = self._foreign.get(name, [])
        if not points:
            raise ConfigError(f"There is no {self.kind} named {name}.", f"Choose from: {', '.join(self.names())}.")
        if len(points) > 1:
            places = ", ".join(point.value for point in points)
            raise ConfigError(f"Several packages bring a {self.kind} named {name}: {places}.", "Uninstall all but one.")
        with self.calling(name):
            loaded: Any = points[0].load()
        lacking = [attribute for attribute in self.needs if not hasattr(loaded, attribute)]
        if lacking:
            raise ConfigError(
                f"The {self.kind} {name} ({points[0].value}) lacks {', '.join(lacking)}.",
                f"Its class must have: {', '.join(self.needs)}.",
            )
        found: T = loaded
        return found


BACKENDS: Registry[Any] = Registry(
    "backend",
    "jetseg.backends",
    {
        "onnxruntime": "jetseg.engine.onnxruntime.backend:OnnxRuntime",
        "litert": "jetseg.engine.litert.backend:LiteRT",
        "tensorrt": "jetseg.engine.tensorrt.backend:TensorRT",
        "tensorrt_rtx": "jetseg.engine.tensorrt_rtx.backend:TensorRTRTX",
    },
    needs=("suffix", "build", "open"),
)
"""Subclasses of `jetseg.engine.backend.Backend`: what builds engines and runs them."""

NETWORKS: Registry[Any] = Registry(
    "network",
    "jetseg.networks",
    {
        "fast-scnn": "jetseg.models.fast_scnn:FastSCNN",
        "ddrnet-23-slim": "jetseg.models.ddrnet:DDRNet",
        "efficientnet-lite-fpn": "jetseg.models.efficientnet_lite:EfficientNetLiteFPN",
        "unet": "jetseg.models.unet:UNet",
        "tiny": "jetseg.models.tiny:Tiny",
    },
)
"""Callables that return a torch.nn.Module, given `num_classes`, `in_channels` and options of their own."""

DATASETS: Registry[Any] = Registry(
    "dataset",
    "jetseg.datasets",
    {
        "camvid": "jetseg.data.camvid:CamVid",
        "cityscapes": "jetseg.data.cityscapes:Cityscapes",
        "folder": "jetseg.data.folder:Folder",
        "video": "jetseg.data.video:Video",
        "mcap": "jetseg.ros.recorded_data:Recorded",
        "nifti": "jetseg.data.volumes.kinds:Nifti",
        "dicom": "jetseg.data.volumes.kinds:Dicom",
        "phantom": "jetseg.data.volumes.phantom:Phantom",
        "synthetic": "jetseg.data.synthetic.dataset:Synthetic",
    },
    needs=("form", "open_split"),
)
"""Classes as `jetseg.data.contract.DatasetKind`: what a spec NAME:PLACE opens."""

CRITERIA: Registry[Any] = Registry(
    "pruning criterion",
    "jetseg.criteria",
    {
        "magnitude": "jetseg.compress.importance:Magnitude",
        "bn-scale": "jetseg.compress.importance:BatchNormScale",
        "activation": "jetseg.compress.importance:Activation",
        "taylor": "jetseg.compress.importance:Taylor",
        "random": "jetseg.compress.importance:Random",
    },
)
"""Subclasses of `jetseg.compress.importance.Criterion`: which channels or weights matter least."""

SOURCES: Registry[Any] = Registry(
    "source",
    "jetseg.sources",
    {
        "csi": "jetseg.camera.sources.csi:Csi",
        "playlist": "jetseg.camera.sources.stream:Playlist",
        "ros2": "jetseg.camera.sources.ros2:Ros2",
        "mcap": "jetseg.camera.sources.recorded:RecordedSource",
        "synthetic": "jetseg.camera.sources.synthetic:SyntheticSource",
    },
    needs=("form", "open"),
)
"""Classes as `jetseg.camera.contract.SourceKind`: what NAME:PLACE gives frames from, beside cameras and files."""

SINKS: Registry[Any] = Registry(
    "sink",
    "jetseg.sinks",
    {
        "video": "jetseg.camera.sinks.video:VideoSink",
        "segments": "jetseg.camera.sinks.segments:SegmentedRecording",
        "class_map_files": "jetseg.camera.sinks.class_map_files:ClassMapFiles",
        "ring": "jetseg.camera.sinks.ring:RingWriter",
        "publish": "jetseg.camera.sinks.publish:Publisher",
        "ros2": "jetseg.camera.sinks.ros2:Ros2Sink",
        "mcap": "jetseg.camera.sinks.mcap:McapSink",
        "foxglove": "jetseg.camera.sinks.foxglove:FoxgloveSink",
        "mqtt": "jetseg.camera.sinks.mqtt:MqttSink",
        "rtsp": "jetseg.camera.sinks.gstreamer.sink:RtspSink",
        "gstreamer": "jetseg.camera.sinks.gstreamer.sink:GStreamerSink",
        "window": "jetseg.camera.sinks.window:WindowSink",
    },
    needs=("form", "open"),
)
"""Classes as `jetseg.camera.contract.SinkKind`: what takes every processed frame."""

REGISTRIES: dict[str, Registry[Any]] = {
    "backends": BACKENDS,
    "networks": NETWORKS,
    "datasets": DATASETS,
    "criteria": CRITERIA,
    "sources": SOURCES,
    "sinks": SINKS,
}


def list_registered() -> dict[str, tuple[str, ...]]:
    """Returns the names of all parts by kind: backends, networks, datasets, criteria, sources and sinks.

    >>> "onnxruntime" in list_registered()["backends"]
    True
    """
    return {name: registry.names() for name, registry in REGISTRIES.items()}
