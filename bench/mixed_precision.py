r"""What a mixture of 8 bits and float keeps, which share of the work it has in float, and what that costs.

    python bench/mixed_precision.py NETWORK --manifest FILE --camvid DIR --video FILE --out DIR --min-agreement 98.5

Calibrates on 48 frames of CamVid's `train` and 16 of the video, and has `build-engine --auto` look for the fastest
mixture that keeps the agreement on 50 frames of `test` and 50 others of the video, none of which is calibrated on.
Times are of one thread, all engines in turn, by processor time. `--no-mixture-for-speed` begins with all layers on
integers, as on a processor whose integer kernels are always the faster ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest import mock

import cv2

import jetseg
from jetseg.data.dataset import Dataset
from jetseg.engine import build
from jetseg.engine.contest import hold_contest
from jetseg.engine.result import BuildResult, EngineRejectedError
from jetseg.evaluation.accuracy import spread
from jetseg.provenance import device_name, toolchain

_COUNTS = {"train": (48, 16), "test": (50, 50)}
"""Frames of CamVid and of the video."""


def main() -> None:
    options = _options()
    data = _frames(options.camvid, options.video, options.out / "frames")
    network = jetseg.open_network(options.network, options.manifest)
    with mock.patch.object(build, "hold_contest", _whole if options.no_mixture_for_speed else hold_contest):
        try:
            built = jetseg.build_engine(
                network,
                data=data,
                out=options.out / "engine.onnx",
                images=sum(_COUNTS["train"]),
                eval_split="test",
                min_agreement=options.min_agreement,
                max_float_share=options.max_float_share,
                auto=True,
                force=options.force,
                threads=1,
            )
        except EngineRejectedError as error:
            built = error.result
    print(f"{options.network.name}, {device_name()}, {toolchain()}")
    _show(built)


def _whole(*given: object, **named: object) -> object:
    return hold_contest(*given, **{**named, "mix": False})  # type: ignore[arg-type]


def _show(built: BuildResult) -> None:
    print(*built.attempts, sep="\n")
    work = sum(built.report.macs.values())
    share = 1.0 - built.report.integer_macs / work if work else 1.0
    kept = (
        "agreement not measured"
        if built.agreement is None
        else f"{built.agreement.percent:.2f} % of the pixels are kept"
    )
    print(f"{built.manifest.precision}: {kept},")
    print(f"{100 * share:.1f} % of the multiply-accumulates are in float, {'; '.join(built.violations) or 'passed'}")
    if built.contest is not None:
        print(built.contest.record() | {"regions": len(built.contest.regions)})


def _frames(camvid: str, video: Path, folder: Path) -> str:
    """Writes the frames as a dataset folder, and returns its spec."""
    names: dict[str, list[str]] = {}
    film = Dataset(f"video:{video}").split("all")
    places = spread(len(film), sum(count for _, count in _COUNTS.values()))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for split, (stills, filmed) in _COUNTS.items():
        frames = Dataset(f"camvid:{camvid}").split(split)
        chosen = {f"{split}_camvid_{at:04}": frames[at] for at in spread(len(frames), stills)}
        own = [places[at] for at in spread(len(places), filmed)]
        places = [at for at in places if at not in own]
        chosen |= {f"{split}_video_{at:04}": film[at] for at in own}
        for name, sample in chosen.items():
            cv2.imwrite(str(folder / "images" / f"{name}.png"), sample.image_hwc_u8)
        names[split] = list(chosen)
    listed = "".join(f"  {split}: [{', '.join(found)}]\n" for split, found in names.items())
    (folder / "classes.yaml").write_text(f"classes: [any]\nsplits:\n{listed}", encoding="utf-8")
    return f"folder:{folder}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--camvid", required=True)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--min-agreement", type=float, default=97.0)
    parser.add_argument("--max-float-share", type=float, default=100.0)
    parser.add_argument("--force", action="store_true", help="keep 8 bits even where float is as fast")
    parser.add_argument("--no-mixture-for-speed", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
