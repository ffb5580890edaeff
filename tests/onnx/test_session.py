"""ONNX Runtime opens no file, and running out of memory is said as that."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_manifest, small_network

import jetseg
from jetseg.errors import ArtifactError, OutOfMemoryError
from jetseg.network import save_manifest
from jetseg.onnx import memory
from jetseg.onnx.session import make_session, run_session

FRAME = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list:
    """What ONNX Runtime is asked to open."""
    real, seen = onnxruntime.InferenceSession, []

    def recording(content, *arguments, **options):
        seen.append(content)
        return real(content, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", recording)
    return seen


def test_the_runtime_gets_bytes_with_all_weights_inside(tmp_path, given):
    options = {"all_tensors_to_one_file": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(small_network(), str(tmp_path / "net.onnx"), save_as_external_data=True, **options)
    session = make_session(tmp_path / "net.onnx")
    (content,) = given
    assert onnx.load_from_string(content) == small_network()
    (expected,) = run_session(make_session(small_network().SerializeToString()), ["logits"], {"image": FRAME})
    np.testing.assert_array_equal(run_session(session, ["logits"], {"image": FRAME})[0], expected)


def test_fields_that_only_another_version_knows_do_not_reach_the_runtime(tmp_path, given):
    path = tmp_path / "net.onnx"
    unknown = b"\xa2\x06\x03abc"  # field 100
    path.write_bytes(small_network().SerializeToString() + unknown)
    make_session(path)
    assert given == [small_network().SerializeToString()]


def test_a_file_that_looks_like_the_runtimes_own_format_is_read_as_onnx(tmp_path, given):
    # the letters ORTM at byte 4 are how ONNX Runtime tells its own format, whose weights may lie in further files
    model, path = small_network(), tmp_path / "net.onnx"
    model.producer_name = "ORTM"
    path.write_bytes(model.SerializeToString())
    session = make_session(path)
    assert given[0][4:8] == b"ORTM"
    assert run_session(session, ["logits"], {"image": FRAME})[0].shape == (1, 3, HEIGHT, WIDTH)


def test_an_engine_that_was_replaced_after_the_check_is_not_run(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(small_network(0), str(path))
    save_manifest(path, small_manifest())
    network = jetseg.open_network(path)
    onnx.save(small_network(1), str(path))
    with pytest.raises(ArtifactError, match="is not the file that was checked"):
        jetseg.open_engine(network)
    with pytest.raises(ArtifactError, match="is not the file that was checked"):
        network.float_graph()


def asking(kind: str, size: int, *, known: bool) -> onnx.ModelProto:
    """Makes a network that wants a tensor of `size` numbers, by its weights or by its input."""
    shape = numpy_helper.from_array(np.array([size], np.int64), "shape")
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    inputs = {"ConstantOfShape": ["shape"], "Resize": ["one", "", "", "shape"]}.get(kind, ["one", "shape"])
    values = [] if known else [helper.make_tensor_value_info("shape", TensorProto.INT64, [1])]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["large"]), helper.make_node("ReduceMax", ["large"], ["most"], keepdims=0)],
        "asking",
        values,
        [helper.make_tensor_value_info("most", TensorProto.FLOAT, None)],
        [one, shape] if known else [one],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


KINDS = ["ConstantOfShape", "Expand", "Tile", "Resize"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_asks_for_terabytes_is_refused_before_it_runs(tmp_path, kind, given):
    path = tmp_path / "net.onnx"
    path.write_bytes(asking(kind, 1 << 40, known=True).SerializeToString())
    with pytest.raises(OutOfMemoryError, match=rf"node large \({kind}\) of .*net\.onnx: 4,398\.0 GB") as caught:
        make_session(path)
    assert caught.value.exit_code == 3
    assert not given


@pytest.mark.parametrize("kind", KINDS)
def test_what_fits_runs(tmp_path, kind):
    path = tmp_path / "net.onnx"
    path.write_bytes(asking(kind, 1000, known=True).SerializeToString())
    assert run_session(make_session(path), ["most"], {})[0] in (0, 1)


@pytest.mark.parametrize("kind", ["ConstantOfShape", "Expand", "Tile"])
def test_running_out_of_memory_is_said_as_that(tmp_path, kind, capfd):
    path = tmp_path / "net.onnx"
    path.write_bytes(asking(kind, 1 << 40, known=False).SerializeToString())
    session = make_session(path)
    with pytest.raises(OutOfMemoryError, match="The memory does not suffice for running the network") as caught:
        run_session(session, ["most"], {"shape": np.array([1 << 40])})
    assert "damaged" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "words", [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("x : y : Out of memory")]
)
def test_every_way_in_which_the_runtime_says_so(monkeypatch, words):
    class Session:
        def run(self, *_):
            raise words

    with pytest.raises(OutOfMemoryError):
        run_session(Session(), [], {})
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: Session().run())
    with pytest.raises(OutOfMemoryError):
        make_session(b"")


def test_a_limit_of_the_process_counts(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1 << 20)
    path = tmp_path / "net.onnx"
    path.write_bytes(asking("Expand", 1 << 19, known=True).SerializeToString())
    with pytest.raises(OutOfMemoryError, match="node large"):
        make_session(path)
