import hashlib
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import small_network, write_small_network

from jetseg.errors import ArtifactError
from jetseg.onnx.file import load_onnx, read_onnx
from jetseg.onnx.tensors import all_tensors
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


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


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
        read_onnx(path)
    (tmp_path / "weights.bin").write_bytes(VALUES.tobytes())
    assert read_onnx(path).weight_files == (tmp_path / "weights.bin",)
    before = read_onnx(path).sha256
    (tmp_path / "weights.bin").write_bytes((VALUES + 1).tobytes())
    assert read_onnx(path).sha256 != before


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
    for read in (read_onnx, load_onnx):
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
        read_onnx(inner / "net.onnx")


def test_the_hash_of_a_file_with_its_weights_inside_is_that_of_the_file(tmp_path):
    path = write_small_network(tmp_path)
    assert read_onnx(path).weight_files == ()
    assert read_onnx(path).sha256 == sha256_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_hash_of_several_files_names_them_in_order(tmp_path, model):
    (tmp_path / "parts").mkdir()
    contents = {"parts/b.bin": b"\0" * 12, "a.bin": VALUES.tobytes()}
    for position, (name, content) in enumerate(contents.items()):
        (tmp_path / name).write_bytes(content)
        in_initializer(model, tensor(f"held{position}", name))
        in_initializer(model, tensor(f"again{position}", f"./{name}"))
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    assert read_onnx(path).weight_files == (tmp_path / "a.bin", tmp_path / "parts" / "b.bin")
    digests = [hashlib.sha256(content).hexdigest() for content in (path.read_bytes(), VALUES.tobytes(), b"\0" * 12)]
    text = f"{digests[0]}\na.bin {digests[1]}\nparts/b.bin {digests[2]}\n"
    assert read_onnx(path).sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("put", PLACES)
def test_weights_elsewhere_are_put_inside_wherever_they_stand(tmp_path, model, put):
    (tmp_path / "weights.bin").write_bytes(b"\xff" * 8 + VALUES.tobytes())
    held = tensor("held", "weights.bin")
    held.external_data.add(key="offset", value="8")
    held.external_data.add(key="length", value="12")
    put(model, held)
    inside = onnx.ModelProto()
    inside.CopyFrom(model)
    loaded = load_onnx(write(tmp_path / "net.onnx", model))
    for found in all_tensors(inside):
        if found.data_location == TensorProto.EXTERNAL:
            found.CopyFrom(tensor("held"))
    for found in all_tensors(loaded):
        assert not found.external_data
        assert not found.HasField("data_location")
    assert loaded == inside


def test_a_network_in_half_a_file_is_as_good_as_one_in_one(tmp_path):
    options = {"all_tensors_to_one_file": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(small_network(), str(tmp_path / "net.onnx"), save_as_external_data=True, **options)
    assert load_onnx(tmp_path / "net.onnx") == small_network()


ODD = {
    "a second location": ([("location", "weights.bin"), ("location", "../secret.bin")], "says twice where"),
    "a second offset": ([("location", "weights.bin"), ("offset", "0"), ("offset", "4")], "says twice where"),
    "a negative offset": ([("location", "weights.bin"), ("offset", "-4")], "at offset '-4'"),
    "an offset in other digits": ([("location", "weights.bin"), ("offset", "\u0664")], "at offset"),
    "a huge offset": ([("location", "weights.bin"), ("offset", "9" * 19)], "which is damaged: it has 12"),
    "a negative length": ([("location", "weights.bin"), ("length", "-1")], "with length '-1'"),
    "another length": ([("location", "weights.bin"), ("length", "8")], "8 bytes, and their shape and type ask for 12"),
    "beyond the end": (
        [("location", "weights.bin"), ("offset", "4")],
        "bytes 4 to 16 of weights.bin, which is damaged",
    ),
    "a memory address": ([("location", "*/_ORT_MEM_ADDR_/*"), ("offset", "1024")], "not beside it"),
    "a zero byte": ([("location", "weights.bin\0.txt")], "outside its own folder"),
    "a name that no file has": ([("location", "x" * 5000)], "outside its own folder"),
    "a device": ([("location", "pipe")], "not beside it"),
}


@pytest.mark.parametrize("how", ODD)
@pytest.mark.parametrize("put", PLACES)
def test_odd_places_of_weights_are_refused(tmp_path, model, put, how):
    entries, said = ODD[how]
    (tmp_path / "secret.bin").write_bytes(VALUES.tobytes())
    folder = tmp_path / "net"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "weights.bin").write_bytes(VALUES.tobytes())
    held = tensor("held", "gone")
    del held.external_data[:]
    for key, value in entries:
        held.external_data.add(key=key, value=value)
    put(model, held)
    with pytest.raises(ArtifactError, match=re.escape(said)):
        load_onnx(write(folder / "net.onnx", model))


def test_a_small_file_with_weights_does_not_become_a_large_network(tmp_path, model):
    (tmp_path / "weights.bin").write_bytes(VALUES.tobytes())
    for number in range(5):
        in_initializer(model, tensor(f"held{number}", "weights.bin"))
    with pytest.raises(ArtifactError, match=r"makes 60 bytes of weights out of the 12 bytes of weights\.bin"):
        load_onnx(write(tmp_path / "net.onnx", model))


def test_a_tensor_larger_than_any_file_is_refused_before_memory_is_taken(tmp_path, model):
    (tmp_path / "weights.bin").write_bytes(VALUES.tobytes())
    for shape in ([1 << 40], [1 << 62, 1 << 62], [-3]):
        held = tensor("held", "weights.bin")
        held.dims[:] = shape
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        in_initializer(changed, held)
        with pytest.raises(ArtifactError, match=r"its tensor 'held' (would take|has the shape \[-3\])"):
            load_onnx(write(tmp_path / "net.onnx", changed))


def test_tensors_inside_have_the_size_that_they_state(tmp_path, model):
    raw, typed, sparse = tensor("raw"), helper.make_tensor("typed", TensorProto.FLOAT, [3], VALUES), tensor("sparse")
    raw.dims[:] = [4]
    typed.dims[:] = [1 << 40]
    indices = numpy_helper.from_array(np.arange(3, dtype=np.int64), "indices")
    for spoil, said in (
        (lambda changed: in_initializer(changed, raw), "'raw' has 12 bytes, where its shape and type ask for 16"),
        (lambda changed: in_initializer(changed, typed), "'typed' has 3 values"),
        (
            lambda changed: changed.graph.sparse_initializer.append(helper.make_sparse_tensor(sparse, indices, [9])),
            "'sparse' is sparse, and has the shape",
        ),
    ):
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        spoil(changed)
        for large in changed.graph.sparse_initializer:
            large.dims[:] = [1 << 40]
        with pytest.raises(ArtifactError, match=re.escape(said)):
            load_onnx(write(tmp_path / "net.onnx", changed))


def test_what_was_hashed_is_what_is_used(tmp_path, model):
    in_initializer(model, tensor("held", "weights.bin"))
    (tmp_path / "weights.bin").write_bytes(VALUES.tobytes())
    path = write(tmp_path / "net.onnx", model)
    digest = read_onnx(path).sha256
    load_onnx(path, digest)
    (tmp_path / "weights.bin").write_bytes((VALUES + 1).tobytes())
    with pytest.raises(ArtifactError, match="is not the file that was checked"):
        load_onnx(path, digest)


def test_a_network_beyond_two_gigabytes_is_refused(tmp_path, model):
    path = write(tmp_path / "net.onnx", model)
    with path.open("r+b") as file:
        file.truncate(1 << 31)  # takes no room on the disk
    in_initializer(model, tensor("held", "weights.bin"))
    other = write(tmp_path / "other.onnx", model)
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(1 << 31)
    with pytest.raises(ArtifactError, match="larger than 2 GB"):
        load_onnx(path)
    with pytest.raises(ArtifactError, match="more than 2 GB of weights"):
        load_onnx(other)


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        read_onnx(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07no onnx")
    with pytest.raises(ArtifactError, match=r"bad\.onnx"):
        read_onnx(tmp_path / "bad.onnx")


@pytest.mark.parametrize("outputs", [[], [""]])
def test_a_node_that_gives_nothing(tmp_path, outputs):
    model = small_network()
    branch = helper.make_graph([], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["image"], outputs, then_branch=branch, else_branch=branch))
    onnx.save(model, str(tmp_path / "net.onnx"))
    with pytest.raises(ArtifactError, match=r"no sound network: node '' \(If\) gives nothing"):
        load_onnx(tmp_path / "net.onnx")


def test_weights_that_are_subnormal_become_zero(tmp_path):
    least = np.finfo(np.float32).tiny
    values = np.float32([0.5, least, -least, least / 2, -1e-42, 0.0])
    model = small_network()
    model.graph.initializer.append(numpy_helper.from_array(values, "dead"))
    doubles = numpy_helper.from_array(np.float64([1e-42]), "double")
    model.graph.initializer.append(doubles)
    path = tmp_path / "dead.onnx"
    onnx.save(model, str(path))
    loaded = {held.name: numpy_helper.to_array(held) for held in load_onnx(path).graph.initializer}
    np.testing.assert_array_equal(loaded["dead"], np.float32([0.5, least, -least, 0, 0, 0]))
    assert loaded["double"][0] == 1e-42
    for kept in small_network().graph.initializer:
        np.testing.assert_array_equal(loaded[kept.name], numpy_helper.to_array(kept))
    assert sha256_file(path) == read_onnx(path).sha256, "the file itself is as it was"
