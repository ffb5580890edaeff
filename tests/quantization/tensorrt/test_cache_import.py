"""A calibration cache from elsewhere becomes a ranges file that every backend builds from."""

import json

import pytest
from small_network import small_manifest, write_dataset, write_small_network

from jetseg.errors import CalibrationError
from jetseg.quantization.render import write_cache
from jetseg.quantization.tensorrt.cache import render_cache
from jetseg.quantization.tensorrt.cache_import import ranges_from_cache
from jetseg.workflows.calibration import calibrate


@pytest.fixture
def material(tmp_path):
    """A network, its calibrated ranges, and the cache that was rendered from them."""
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    ranges = calibrate(model, data=data, split="all", images=4, preset="fast", out=tmp_path / "r.json")
    write_cache(ranges, tmp_path / "c.cache", "10.3")
    return ranges.network, ranges, tmp_path / "c.cache"


def test_a_cache_comes_back_as_the_ranges_that_it_was_rendered_from(material):
    model, ranges, cache = material
    found = ranges_from_cache(model, cache, cache.with_name("from.json"))
    assert found.tensors.keys() == ranges.tensors.keys()
    for name, entry in found.tensors.items():
        assert entry.amax == pytest.approx(ranges.tensors[name].amax, rel=1e-6)
        assert entry.low == (0.0 if name.startswith("r") else -entry.amax)
    assert (found.record.method, found.record.frames, found.record.model_sha256) == ("entropy", 0, model.sha256)
    assert found.record.preprocessing == small_manifest().input


def test_missing_tensors_are_named_and_unknown_ones_left_out(material):
    model, ranges, cache = material
    amax = {name: entry.amax for name, entry in ranges.tensors.items()}
    cache.write_text(render_cache({**amax, "(Unnamed Layer* 7) [Shuffle]_output": 1.0}, "10.3"))
    assert ranges_from_cache(model, cache, cache.with_name("from.json")).tensors.keys() == ranges.tensors.keys()
    cache.write_text(render_cache({name: value for name, value in amax.items() if name not in ("r1", "both")}, "10.3"))
    with pytest.raises(CalibrationError, match="lacks 2 tensors .*: r1, both"):
        ranges_from_cache(model, cache, cache.with_name("from.json"))
    with pytest.raises(CalibrationError, match="does not exist"):
        ranges_from_cache(model, cache.with_name("none"), cache.with_name("from.json"))


def test_the_command_line_builds_from_it(material, tmp_path, monkeypatch, capsys):
    from jetseg.cli.main import main

    def jetseg(*words):
        monkeypatch.setattr("sys.argv", ["jetseg", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, *capsys.readouterr()

    network, _, cache = material
    model = network.path
    code, out, _ = jetseg("calibrate", model, "--cache", cache, "--out", tmp_path / "from.json", "--json")
    assert (code, json.loads(out)["frames"]) == (0, 0)
    assert jetseg("build-engine", model, "--calibration", tmp_path / "from.json", "--out", tmp_path / "e.onnx")[0] == 0
    code, _, err = jetseg("calibrate", model)
    assert (code, "--data or --cache" in err) == (2, True)
    assert jetseg("calibrate", model, "--cache", cache, "--data", "synthetic:2")[0] == 2
