import json

from small_network import write_dataset, write_small_network
from typer.testing import CliRunner

from jetseg.cli.main import app
from jetseg.workflows.building import build_engine


def test_a_trained_network_becomes_an_engine(tmp_path):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data", frames=8)
    out = tmp_path / "trained.onnx"
    command = ["qat", str(model), "--data", data, "--split", "all", "--eval-split", "all", "--no-labels"]
    done = CliRunner().invoke(app, [*command, "--epochs", "2", "--images", "8", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["best_epoch"] in (0, 1, 2)
    trained = json.loads((tmp_path / "trained.scales.json").read_text())
    ranges = json.loads((tmp_path / "trained.ranges.json").read_text())
    assert trained
    assert all(abs(ranges["tensors"][name]["amax"] - amax) < 1e-5 * amax for name, amax in trained.items())
    built = build_engine(
        tmp_path / "trained.float.onnx", ranges=tmp_path / "trained.ranges.json", out=tmp_path / "e.onnx"
    )
    assert built.path.is_file()
