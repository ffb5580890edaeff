import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import write_small_network

from jetseg.errors import ArtifactError
from jetseg.onnx.file import load_onnx, onnx_sha256, weight_files
from jetseg.storage import sha256_file

VALUES = np.arange(3, dtype=np.float32)


def tensor(name: str, location: str = "") -> TensorProto:
    """Makes three numbers, inside the file or in another one."""
    made = numpy_helper.from_array(VALUES, name)
    if location:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
    return made


def in_initializer(model: onnx.ModelProto, held: TensorProto) -> None:
    model.graph.initializer.append(held)


def in_sparse_values(model: onnx.ModelProto, held: TensorProto) -> None:
    indices = numpy_helper.from_array(np.arange(3, dtype=np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(held, indices, [9]))


def in_sparse_indices(model: onnx.ModelProto, held: TensorProto) -> None:
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor("s"), held, [9]))


def in_attribute(model: onnx.ModelProto, held: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=held))


def in_list_attribute(model: onnx.ModelProto, held: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Own", ["image"], ["c"], domain="own", parts=[tensor("t"), held]))


def in_sparse_attribute(model: onnx.ModelProto, held: TensorProto) -> None:
    indices = numpy_helper.from_array(np.arange(3, dtype=np.int64), "indices")
    sparse = helper.make_sparse_tensor(held, indices, [9])
    model.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))


def branch(held: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Neg", [held.name], ["b"])], "b", [], [], [held])


def in_branch(model: onnx.ModelProto, held: TensorProto) -> None:
    inner = helper.make_node("If", ["yes"], ["b"], then_branch=branch(held), else_branch=branch(tensor("e")))
    outer = helper.make_graph([inner], "outer", [], [])
    model.graph.node.append(helper.make_node("If", ["yes"], ["c"], then_branch=outer, else_branch=outer))


def in_list_of_graphs(model: onnx.ModelProto, held: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Own", ["image"], ["c"], domain="own", cases=[branch(held)]))


def in_function(model: onnx.ModelProto, held: TensorProto) -> None:
    constant = helper.make_node("Constant", [], ["y"], value=held)
    model.functions.append(helper.make_function("own", "three", [], ["y"], [constant], model.opset_import))


PLACES = [
    in_initializer,
    in_sparse_values,
    in_sparse_indices,
    in_attribute,
    in_list_attribute,
    in_sparse_attribute,
    in_branch,
    in_list_of_graphs,
    in_function,
]


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(write_small_network(tmp_path))


@pytest.mark.parametrize("put", PLACES)
def test_weights_elsewhere_are_found_wherever_the_file_names_them(tmp_path, model, put):
    put(model, tensor("held", "weights.bin"))
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"net\.onnx keeps the weights held in weights\.bin.*not beside it"):
        weight_files(path)
    (tmp_path / "weights.bin").write_bytes(VALUES.tobytes())
    assert weight_files(path) == (tmp_path / "weights.bin",)
    before = onnx_sha256(path)
    (tmp_path / "weights.bin").write_bytes((VALUES + 1).tobytes())
    assert onnx_sha256(path) != before


@pytest.mark.parametrize("put", PLACES)
@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", ""])
def test_weights_outside_the_folder_are_refused(tmp_path, model, put, location):
    (tmp_path / "weights.bin").write_bytes(VALUES.tobytes())
    held = tensor("held", location or "weights.bin")
    if not location:
        del held.external_data[:]
    put(model, held)
    path = tmp_path / "inner" / "net.onnx"
    path.parent.mkdir()
    path.write_bytes(model.SerializeToString())
    for read in (weight_files, onnx_sha256, load_onnx):
        with pytest.raises(ArtifactError, match="outside its own folder"):
            read(path)


def test_a_link_out_of_the_folder_is_refused(tmp_path, model):
    (tmp_path / "secret.bin").write_bytes(VALUES.tobytes())
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "weights.bin").symlink_to(tmp_path / "secret.bin")
    in_initializer(model, tensor("held", "weights.bin"))
    (inner / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="outside its own folder"):
        weight_files(inner / "net.onnx")


def test_the_hash_of_a_file_with_its_weights_inside_is_that_of_the_file(tmp_path):
    path = write_small_network(tmp_path)
    assert weight_files(path) == ()
    assert onnx_sha256(path) == sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_of_several_files_names_them_in_order(tmp_path, model):
    (tmp_path / "parts").mkdir()
    contents = {"parts/b.bin": b"\0" * 12, "a.bin": VALUES.tobytes()}
    for position, (name, content) in enumerate(contents.items()):
        (tmp_path / name).write_bytes(content)
        in_initializer(model, tensor(f"held{position}", name))
        in_initializer(model, tensor(f"again{position}", f"./{name}"))
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    assert weight_files(path) == (tmp_path / "a.bin", tmp_path / "parts" / "b.bin")
    digests = [hashlib.sha256(content).hexdigest() for content in (path.read_bytes(), VALUES.tobytes(), b"\0" * 12)]
    text = f"{digests[0]}\na.bin {digests[1]}\nparts/b.bin {digests[2]}\n"
    assert onnx_sha256(path) == hashlib.sha256(text.encode()).hexdigest()


def test_weights_elsewhere_are_loaded_only_if_wanted(tmp_path, model):
    in_initializer(model, tensor("held", "weights.bin"))
    (tmp_path / "weights.bin").write_bytes(VALUES.tobytes())
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(numpy_helper.to_array(load_onnx(path).graph.initializer[-1]), VALUES)
    assert load_onnx(path, weights=False).graph.initializer[-1].data_location == TensorProto.EXTERNAL


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        weight_files(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07no onnx")
    with pytest.raises(ArtifactError, match=r"bad\.onnx"):
        onnx_sha256(tmp_path / "bad.onnx")
