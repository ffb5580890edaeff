import json
import time

import pytest
from small_network import write_dataset, write_small_network

from jetseg.data.dataset import open_dataset, open_split
from jetseg.engine.build import build_engine
from jetseg.engine.config import BuildConfig
from jetseg.engine.engine import open_engine
from jetseg.monitor.shadow import ShadowMonitor
from jetseg.network import open_network
from jetseg.quantization.ranges import open_ranges
from jetseg.workflows.calibration import calibrate


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """A network and two engines of it, one from sound ranges and one from ranges that clip nearly everything."""
    folder = tmp_path_factory.mktemp("engines")
    model, data, ranges = write_small_network(folder), write_dataset(folder / "data", frames=12), folder / "r.json"
    calibrate(model, data=data, split="all", out=ranges, preset="fast", method="minmax")
    network, dataset = open_network(model), open_dataset(data)
    config = BuildConfig(split="all", eval_split="all", images=8, max_drop=100, max_class_drop=100, min_agreement=0)

    def build(name):
        return build_engine(
            network, config, ranges=open_ranges(ranges, network), dataset=dataset, out=folder / name
        ).path

    sound = build("sound.onnx")
    content = json.loads(ranges.read_text())
    for key in ("low", "high", "amax"):
        content["tensors"]["both"][key] *= 0.01
    ranges.write_text(json.dumps(content))
    return model, data, sound, build("damaged.onnx")


@pytest.mark.parametrize(("which", "kinds"), [("sound", []), ("damaged", ["shadow-disagreement"])])
def test_an_engine_from_damaged_ranges_raises_the_alarm_by_its_learned_bound(engines, which, kinds):
    model, data, sound, damaged = engines
    dataset, notices = open_split(data, "all"), []
    with (
        open_engine(sound if which == "sound" else damaged, threads=1) as engine,
        open_engine(model, threads=1) as reference,
    ):
        shadow = ShadowMonitor(reference.segment, engine.manifest, every=1)
        for index in range(len(dataset)):
            image = dataset[index].image_hwc_u8
            notices += shadow.offer(image, engine.segment(image))
            while shadow.state().compared + shadow.state().skipped <= index:
                time.sleep(0.001)
        notices += shadow.close()
    assert [notice.kind for notice in notices] == kinds
    assert shadow.state().compared >= 4
