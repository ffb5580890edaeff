"""What is cut off: each operation has an old state, changes it, and says what a reader that knows nothing sees.

A new one is a class in `OPERATIONS`. What it imports in `load` is not imported again in each child; threads, as of ONNX
Runtime, may only begin in `prepare`, `run` and `read`, which have a process of their own.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar

from results import result
from small_network import small_manifest, small_network, write_dataset, write_small_network


class Operation:
    """One operation; the folder is the same for all methods, but its content is copied."""

    modules: ClassVar[tuple[str, ...]] = ()

    def load(self) -> None:
        """Imports what the operation needs."""
        for name in self.modules:
            importlib.import_module(name)

    def prepare(self, folder: Path) -> None:
        """Makes the old state."""
        raise NotImplementedError

    def run(self, folder: Path) -> None:
        """Does the work that is cut off; done again, it ends as if it had not been."""
        raise NotImplementedError

    def read(self, folder: Path) -> Any:
        """Returns what a reader sees, as JSON."""
        raise NotImplementedError

    def accepts(self, seen: Any, old: Any, new: Any) -> bool:
        """Tells whether a reader may see that after the process was cut off."""
        return seen in (old, new)

    def ends(self, seen: Any, new: Any) -> bool:
        """Tells whether the next run ended as it should."""
        return seen == new

    def may_stay(self, name: str) -> bool:
        """Tells whether a file may be there after the next run that is not after a run alone."""
        return False


class Build(Operation):
    """Another network's engine takes the place of an earlier one."""

    modules = ("jetseg.workflows.building", "jetseg.engine.onnxruntime.backend", "onnxruntime")
    seeds: ClassVar[tuple[int, ...]] = (0, 1)

    def prepare(self, folder: Path) -> None:
        for seed in (0, 1):
            (folder / str(seed)).mkdir()
            write_small_network(folder / str(seed), seed)
        for seed in self.seeds[:-1]:
            self._build(folder, seed)

    def run(self, folder: Path) -> None:
        self._build(folder, self.seeds[-1])

    def read(self, folder: Path) -> Any:
        from jetseg.engine.engine import open_engine

        path = folder / "engine.onnx"
        if not path.exists():
            return None
        with open_engine(path, threads=1) as engine:
            return [engine.network.sha256, engine.manifest.parent_sha256]

    def _build(self, folder: Path, seed: int) -> None:
        from jetseg.workflows.building import build_engine

        build_engine(folder / str(seed) / "small.onnx", precision="fp32", threads=1, out=folder / "engine.onnx")


class FirstBuild(Build):
    """Where no engine was."""

    seeds = (1,)


class Calibration(Operation):
    """Ranges and the corrected networks that they name."""

    modules = ("jetseg.quantization.calibration",)

    def prepare(self, folder: Path) -> None:
        write_small_network(folder)
        self._save(folder, 1)

    def run(self, folder: Path) -> None:
        self._save(folder, 2)

    def read(self, folder: Path) -> Any:
        from jetseg.network import open_network
        from jetseg.quantization.ranges import open_ranges

        ranges = open_ranges(folder / "small.ranges.json", open_network(folder / "small.onnx"))
        return [ranges.sha256, ranges.network_for("tensorrt").sha256, ranges.network_for("onnxruntime").sha256]

    def _save(self, folder: Path, seed: int) -> None:
        from jetseg.network import open_network
        from jetseg.onnx.graph import Graph
        from jetseg.quantization import calibration
        from jetseg.quantization.correct.corrector import CorrectedGraph
        from jetseg.quantization.ranges import RangesRecord, TensorRange, save_ranges

        network, out = open_network(folder / "small.onnx"), folder / "small.ranges.json"
        ranges = {"image": TensorRange(low=-1, high=1, amax=1, seen_low=-1, seen_high=1)}
        networks = {}
        for number, target in enumerate(("tensorrt", "onnxruntime")):
            candidate = CorrectedGraph(Graph(small_network(seed + 10 * number)), ranges, ("equalize",))
            networks[target] = calibration._save_network(network, target, candidate, out)
        record = RangesRecord(
            method="minmax",
            frames=seed,
            model_sha256=network.sha256,
            data_sha256="",
            data="none",
            preprocessing=small_manifest().input,
            networks=networks,
            tensors=ranges,
        )
        save_ranges(out, network, record)


class Pack(Operation):
    """A kit takes the place of an earlier one."""

    modules = ("jetseg.workflows.kits", "jetseg.engine.onnxruntime.backend", "onnxruntime", "cv2")

    def prepare(self, folder: Path) -> None:
        write_small_network(folder)
        write_dataset(folder / "data", frames=2)
        self._pack(folder, 1)

    def run(self, folder: Path) -> None:
        self._pack(folder, 2)

    def read(self, folder: Path) -> Any:
        from jetseg.kit.opening import open_kit

        with open_kit(folder / "small.kit.zip") as kit:
            return [kit.network.sha256, len(kit.expected()), len(kit.frames())]

    def _pack(self, folder: Path, frames: int) -> None:
        from jetseg.workflows.kits import pack

        data, out = f"folder:{folder / 'data'}", folder / "small.kit.zip"
        pack(folder / "small.onnx", data=data, split="all", frames=frames, threads=1, out=out)


class Deploy(Operation):
    """A release takes the place of an earlier one."""

    modules = ("jetseg.workflows.deploying", "jetseg.engine.onnxruntime.backend", "onnxruntime", "cv2")

    def prepare(self, folder: Path) -> None:
        from small_kit import make_kit

        for seed in (0, 1):
            (folder / str(seed)).mkdir()
            make_kit(folder / str(seed), seed=seed, ranges=False, frames=1)
        self._deploy(folder, 0)

    def run(self, folder: Path) -> None:
        self._deploy(folder, 1)

    def read(self, folder: Path) -> Any:
        from jetseg.engine.engine import open_engine
        from jetseg.kit.releases import list_releases, open_release

        network = open_release(folder / "engines" / "current")
        open_engine(network, threads=1).close()
        return [network.manifest.parent_sha256, len(list_releases(folder / "engines"))]

    def accepts(self, seen: Any, old: Any, new: Any) -> bool:
        return seen[0] in (old[0], new[0])

    def may_stay(self, name: str) -> bool:
        return name.startswith("engines/releases/")  # another number; how many there are is read

    def _deploy(self, folder: Path, seed: int) -> None:
        from jetseg.workflows.deploying import deploy

        deploy(folder / str(seed) / "small.kit.zip", to=folder / "engines", threads=1)


class Train(Operation):
    """The second epoch of a run: checkpoints, metrics and state."""

    modules = ("jetseg.training.loop",)

    def load(self) -> None:
        super().load()
        import torch

        torch.set_num_threads(1)

    def prepare(self, folder: Path) -> None:
        from jetseg.training.epochs import EpochLoop

        write_dataset(folder / "data", frames=4)
        keep = EpochLoop.keep

        def keep_and_stop(*arguments: Any) -> None:
            keep(*arguments)
            raise KeyboardInterrupt

        EpochLoop.keep = keep_and_stop
        try:
            self.run(folder)
        except KeyboardInterrupt:
            EpochLoop.keep = keep

    def run(self, folder: Path) -> None:
        from jetseg.training.config import TrainConfig
        from jetseg.training.loop import train

        settings = {"model": "tiny", "model_options": {"width": 4}, "epochs": 2, "batch_size": 4, "workers": 0}
        splits = {"data": f"folder:{folder / 'data'}", "split": "all", "eval_split": "all"}
        train(TrainConfig(**settings, **splits, out=folder / "run", accelerator="cpu", lr=1e-2))

    def read(self, folder: Path) -> Any:
        from jetseg.training.checkpoint import load_checkpoint
        from jetseg.training.state import read_progress

        seen = {name: load_checkpoint(folder / "run" / f"{name}.safetensors")[1].sha256 for name in ("best", "last")}
        rows = (folder / "run" / "metrics.csv").read_text().splitlines()
        return {**seen, "rows": len(rows) - 1, "epochs": read_progress(folder / "run").epochs_done}

    def accepts(self, seen: Any, old: Any, new: Any) -> bool:
        return all(value in (old[key], new[key]) for key, value in seen.items())


class Record(Operation):
    """A recording in segments of a second, beside one of an earlier drive."""

    modules = ("av", "jetseg.camera.sinks.segments")

    def prepare(self, folder: Path) -> None:
        self._record(folder, 30)

    def run(self, folder: Path) -> None:
        self._record(folder, 60)

    def read(self, folder: Path) -> Any:
        import av

        counts = []
        for path in sorted((folder / "drives").glob("*.mp4")):
            try:
                with av.open(str(path)) as video:
                    counts.append(sum(1 for _ in video.decode(video=0)))
            except av.error.FFmpegError:
                counts.append(None)
        return counts

    def accepts(self, seen: Any, old: Any, new: Any) -> bool:
        earlier, finished = seen[: len(old)], seen[len(old) : -1]
        return earlier == old and finished == new[len(old) :][: len(finished)]

    def ends(self, seen: Any, new: Any) -> bool:
        return None not in seen and seen[-3:] == new[-3:]

    def may_stay(self, name: str) -> bool:
        return name.endswith(".mp4")

    def _record(self, folder: Path, frames: int) -> None:
        from jetseg.camera.sinks.segments import SegmentedRecording

        recording = SegmentedRecording(folder / "drives", segment_seconds=1.0)
        for index in range(frames):
            recording.write(result(index))
        recording.close()


class ClassMaps(Operation):
    """Class maps in a folder."""

    modules = ("cv2", "jetseg.camera.sinks.class_map_files")

    def prepare(self, folder: Path) -> None:
        self._write(folder, range(2))

    def run(self, folder: Path) -> None:
        self._write(folder, range(1, 5))

    def read(self, folder: Path) -> Any:
        import cv2

        paths = sorted((folder / "maps").glob("*.png"))
        return [int(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).sum()) for path in paths]

    def accepts(self, seen: Any, old: Any, new: Any) -> bool:
        return seen == new[: len(seen)]

    def _write(self, folder: Path, numbers: range) -> None:
        from jetseg.camera.sinks.class_map_files import ClassMapFiles

        output = ClassMapFiles(folder / "maps")
        for number in numbers:
            output.write(result(number))
        output.close()


OPERATIONS: dict[str, type[Operation]] = {
    "build": Build,
    "first build": FirstBuild,
    "calibration": Calibration,
    "pack": Pack,
    "deploy": Deploy,
    "train": Train,
    "record": Record,
    "class maps": ClassMaps,
}
