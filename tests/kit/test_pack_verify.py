import hashlib
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_network import CLASSES, forget_hash, write_dataset, write_small_network

from jetseg.cli.main import main
from jetseg.engine.engine import open_engine
from jetseg.engine.onnxruntime.backend import OnnxRuntime
from jetseg.errors import ArtifactError, ConfigError, QualityError
from jetseg.kit.opening import open_kit
from jetseg.manifest_file import manifest_path
from jetseg.network import load_manifest, save_manifest
from jetseg.quantization.ranges import RangesRecord
from jetseg.registry import BACKENDS
from jetseg.storage import sha256_file
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.kits import pack, verify

WIDE = {"min_agreement": 90, "max_drop": 10, "max_class_drop": 20}
"""What 8 bits cost a network of random weights."""


@pytest.fixture
def material(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=8)
    ranges = tmp_path / "r.json"
    calibrate(model, data=data, split="all", out=ranges)
    return model, data, ranges


@pytest.fixture
def kit(material, tmp_path):
    model, data, ranges = material
    return pack(model, data=data, split="all", ranges=ranges, out=tmp_path / "s.kit.zip", **WIDE).kit


def damage(engine, name):
    """Reverses one weight tensor along its first axis and describes the result as if nothing had happened."""
    network = onnx.load(str(engine))
    tensor = next(tensor for tensor in network.graph.initializer if tensor.name.startswith(name))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[::-1].copy(), tensor.name))
    manifest = load_manifest(engine)
    onnx.save(network, str(engine))
    save_manifest(engine, manifest)


def test_a_kit_is_verified_and_its_engine_tells_so(kit, material, tmp_path):
    out = tmp_path / "engines" / "small.int8.onnx"
    result = verify(kit, out=out)
    assert result.comparison.violations == ()
    assert result.engine == out
    manifest = load_manifest(out)
    assert manifest.parent_sha256 == sha256_file(material[0])
    assert 0.9 < manifest.parity.argmax_agreement <= 1, "a fraction, as other artifacts have it"
    assert manifest.parity.argmax_agreement == pytest.approx(result.comparison.agreement / 100, abs=1e-5)
    assert manifest.accuracy == (result.comparison.after,)
    assert sorted(path.name for path in out.parent.iterdir()) == ["small.int8.onnx", "small.int8.onnx.json"]
    open_engine(out).close()
    again = verify(kit, engine=out)
    assert again.comparison == result.comparison


def test_float_agrees_with_itself(kit, tmp_path):
    result = verify(kit, precision="fp32", out=tmp_path / "f.onnx")
    assert result.comparison.agreement == 100.0
    assert result.comparison.before == result.comparison.after
    assert set(result.comparison.kept.values()) == {100.0}


class RoundsAsTheyCome(OnnxRuntime):
    """Its int8 engines need no ranges, as LiteRT's of `activations` dynamic."""

    def takes_ranges(self, precision, options):
        return False

    def build(self, request):
        assert request.ranges is None
        return super().build(replace(request, precision="fp32"))


def test_a_backend_that_takes_no_ranges_builds_int8_from_a_kit_without(float_kit, tmp_path, monkeypatch):
    monkeypatch.setitem(BACKENDS.own, "own", "")
    monkeypatch.setitem(BACKENDS._loaded, "own", RoundsAsTheyCome)
    result = verify(float_kit, backend="own", precision="int8", out=tmp_path / "f.onnx")
    assert (result.manifest.precision, result.comparison.violations) == ("int8", ())


def test_a_kit_without_ranges_or_labels(material, tmp_path):
    model, data, _ = material
    for label in (tmp_path / "data" / "labels").iterdir():
        label.unlink()
    (tmp_path / "data" / "labels").rmdir()
    done = pack(model, data=data, split="all", frames=2, out=tmp_path / "f.kit.zip")
    assert (done.index.labelled, done.index.ranges, len(done.index.frames)) == (False, None, 2)
    result = verify(done.kit, out=tmp_path / "f.onnx")
    assert (result.comparison.agreement, result.comparison.before) == (100.0, None)
    with pytest.raises(ConfigError, match="has no ranges"):
        verify(done.kit, precision="int8")


def test_ranges_may_have_any_name(material, tmp_path):
    model, data, _ = material
    ranges = tmp_path / "meine straße.ranges.json"
    known = calibrate(model, data=data, split="all", out=ranges, corrections=("equalize",))
    assert known.record.networks, "nothing was corrected, so nothing is tested"
    kit = pack(model, data=data, split="all", ranges=ranges, out=tmp_path / "s.kit.zip", **WIDE).kit
    with open_kit(kit) as opened:
        for backend, corrected in opened.ranges.record.networks.items():
            assert opened.ranges.network_for(backend).path.name == corrected.file == f"network.{backend}.onnx"
    assert verify(kit, out=tmp_path / "s.int8.onnx").comparison.violations == ()


def test_a_damaged_engine_fails_and_the_classes_are_named(kit, tmp_path):
    engine = verify(kit, out=tmp_path / "small.int8.onnx").engine
    damage(engine, "w4")
    comparison = verify(kit, engine=engine).comparison
    assert comparison.agreement < 90
    assert any(name in comparison.violations[0] for name in CLASSES)


def test_an_engine_that_fails_does_not_replace_the_one_before(material, kit, tmp_path, monkeypatch):
    out = tmp_path / "e" / "small.int8.onnx"
    verify(kit, out=out)
    before = out.read_bytes()
    import jetseg.kit.verifying as module

    def build_badly(network, config, **options):
        result = real(network, config, **options)
        damage(options["out"], "w4")
        return result

    real = module.build_engine
    monkeypatch.setattr(module, "build_engine", build_badly)
    result = verify(kit, out=out)
    assert result.comparison.violations
    assert result.engine.name == "small.int8.unverified.onnx"
    assert manifest_path(result.engine).is_file()
    assert out.read_bytes() == before


def test_an_engine_that_is_replaced_once_it_has_passed_is_not_the_proven_one(kit, tmp_path, monkeypatch):
    import jetseg.kit.verifying as module

    out = tmp_path / "e" / "small.int8.onnx"
    verify(kit, out=out)
    before = out.read_bytes()

    def compare_then_replace(built, *arguments):
        result = real(built, *arguments)
        damage(built.path, "w4")
        return result

    real = module._compare
    monkeypatch.setattr(module, "_compare", compare_then_replace)
    with pytest.raises(ArtifactError, match="was replaced meanwhile"):
        verify(kit, out=out)
    assert out.read_bytes() == before


def test_an_engine_of_another_network(kit, tmp_path):
    (tmp_path / "other").mkdir()
    other = write_small_network(tmp_path / "other", seed=1)
    with pytest.raises(ArtifactError, match="not built from the network in the kit"):
        verify(kit, engine=other)


def test_a_kit_that_could_not_pass_is_not_written(material, tmp_path):
    model, data, ranges = material
    with pytest.raises(QualityError, match="no vehicle could verify the kit"):
        pack(model, data=data, split="all", ranges=ranges, min_agreement=100, out=tmp_path / "k.zip")
    assert not (tmp_path / "k.zip").exists()


@pytest.mark.parametrize(
    ("change", "words"), [({"target": "orin-micro"}, "no target named orin-micro"), ({"split": "val"}, "val")]
)
def test_wrong_settings(material, tmp_path, change, words):
    model, data, _ = material
    with pytest.raises(Exception, match=words) as caught:
        pack(model, **{"data": data, "split": "all", "out": tmp_path / "k.zip", **change})
    assert caught.value.exit_code == 2


def test_weights_in_other_files(material, tmp_path):
    model, data, _ = material
    onnx.save(onnx.load(str(model)), str(model), save_as_external_data=True, location="w.bin", size_threshold=100)
    forget_hash(model)
    save_manifest(model, load_manifest(model))
    with pytest.raises(ConfigError, match="weights in other files"):
        pack(model, data=data, split="all", out=tmp_path / "k.zip")


def test_the_command_line_prints_the_verdict_and_exits_with_it(material, tmp_path, monkeypatch, capsys):
    model, data, ranges = material
    kit, engine = tmp_path / "k.kit.zip", tmp_path / "e.onnx"

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["jetseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, *capsys.readouterr()

    wide = ("--min-agreement", 90, "--max-drop", 10, "--max-class-drop", 20)
    code, out, _ = run(
        "pack", model, "--data", data, "--split", "all", "--calibration", ranges, *wide, "--out", kit, "--json"
    )
    assert code == 0
    assert json.loads(out)["sha256"] == sha256_file(kit)
    code, out, _ = run("verify", kit, "--out", engine, "--json")
    assert (code, json.loads(out)["passed"]) == (0, True)
    damage(engine, "w4")
    code, out, err = run("verify", kit, "--engine", engine)
    assert code == 1
    assert "keeps" in err
    assert "Traceback" not in err
    kit.write_bytes(kit.read_bytes()[:-50])
    code, _, err = run("verify", kit)
    assert (code, "is not a whole kit" in err) == (2, True)


def test_reference_frames_do_not_depend_on_the_machine(material, tmp_path):
    """Packing twice gives the same frames and class maps."""
    model, data, _ = material
    kits = [pack(model, data=data, split="all", out=tmp_path / name).index for name in ("a.zip", "b.zip")]
    frames = [{name: member for name, member in kit.members.items() if name.startswith("frames")} for kit in kits]
    assert frames[0] == frames[1]
    assert np.array([name.endswith(".png") for name in frames[0]]).sum() == 18


def jetseg(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["jetseg", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0, *capsys.readouterr()


def test_an_engine_is_built_from_a_kit_and_proven_by_it(kit, material, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = jetseg(monkeypatch, capsys, "build-engine", kit, "--json")
    assert code == 0
    engine = tmp_path / "engines" / "s.int8.onnx"
    assert json.loads(out)["engine"] == "engines/s.int8.onnx"
    assert load_manifest(engine).parent_sha256 == sha256_file(material[0])
    assert jetseg(monkeypatch, capsys, "verify", kit, "--engine", engine)[0] == 0
    code, _, err = jetseg(monkeypatch, capsys, "build-engine", kit, "--calibration", material[2])
    assert (code, "is a kit, which has its own" in err) == (2, True)


def test_a_kit_without_ranges_builds_float_and_says_what_int8_needs(material, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kit = pack(material[0], data=material[1], split="all", frames=2, out=tmp_path / "f.kit.zip").kit
    assert jetseg(monkeypatch, capsys, "build-engine", kit, "--precision", "fp32")[0] == 0
    assert (tmp_path / "engines" / "f.fp32.onnx").is_file()
    code, _, err = jetseg(monkeypatch, capsys, "build-engine", kit)
    assert (code, "An int8 engine needs ranges" in err) == (2, True)


def test_a_kit_holds_a_cache_for_each_version_that_reads_one(kit, material, tmp_path):
    import zipfile

    from jetseg.kit.packing import CACHE_VERSIONS
    from jetseg.quantization.tensorrt.cache import parse_cache

    ranges = RangesRecord.model_validate_json(material[2].read_text())
    with zipfile.ZipFile(kit) as archive:
        for version in CACHE_VERSIONS:
            cache = parse_cache(archive.read(f"caches/{version}.cache").decode())
            assert cache.version == version
            assert cache.amax.keys() == ranges.tensors.keys()
            assert cache.amax["image"] == pytest.approx(ranges.tensors["image"].amax, rel=1e-6)


def test_options_reach_the_backend_through_a_kit(kit, monkeypatch, capsys):
    code, _, err = jetseg(monkeypatch, capsys, "verify", kit, "--option", "dla_core=0")
    assert (code, "dla_core" in err) == (2, True)


def test_the_json_of_verify_keeps_its_old_key(kit, tmp_path, monkeypatch, capsys):
    code, out, _ = jetseg(monkeypatch, capsys, "verify", kit, "--out", tmp_path / "e.onnx", "--json")
    content = json.loads(out)
    assert (code, content["violations"], content["broken"]) == (0, [], [])


def test_a_kit_with_a_manifest_of_format_1(kit, material, tmp_path):
    """As versions before 0.2 packed them: one task, beside the output."""
    import zipfile

    with zipfile.ZipFile(kit) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["network.onnx.json"])
    (task,) = manifest.pop("outputs")
    output = {"name": task["name"], "kind": task["kind"]}
    old = {key: task[key] for key in ("classes", "palette", "ignore_index")} | {"output": output, "format": 1}
    content = {key: value for key, value in {**manifest, **old}.items() if key != "content_sha256"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    files["network.onnx.json"] = json.dumps({**content, "content_sha256": digest}).encode()
    index = json.loads(files["kit.json"])
    changed = files["network.onnx.json"]
    index["members"]["network.onnx.json"] = {"sha256": hashlib.sha256(changed).hexdigest(), "size_bytes": len(changed)}
    files["kit.json"] = json.dumps(index).encode()
    with zipfile.ZipFile(tmp_path / "old.kit.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    result = verify(tmp_path / "old.kit.zip", out=tmp_path / "old.onnx")
    assert result.comparison.violations == ()
    assert load_manifest(result.engine).classes == CLASSES
