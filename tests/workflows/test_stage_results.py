from small_network import small_manifest, write_small_network

from jetseg.network import save_manifest
from jetseg.workflows.stage_results import StageResult, networks_of_run, save_result


def test_an_engine_that_is_its_onnx_file_byte_by_byte_stands_beside_it(tmp_path):
    """As when 8 bits gain no time and the float network is kept."""
    paths = {}
    for stage, kind in (("0-export", "onnx"), ("1-build-engine", "engine")):
        folder = tmp_path / stage
        folder.mkdir()
        paths[stage] = write_small_network(folder)
        save_manifest(paths[stage], small_manifest())
        save_result(StageResult(stage[2:], stage[2:], folder, {kind: paths[stage]}, 1.0))
    assert paths["0-export"].read_bytes() == paths["1-build-engine"].read_bytes()
    assert dict(networks_of_run(tmp_path)) == {name[2:]: path for name, path in paths.items()}
