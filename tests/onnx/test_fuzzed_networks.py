"""ONNX files with anything in them are opened or refused in a sentence, and nothing outside their folder is read."""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import EncodeError, Message
from onnx import TensorProto, helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_manifest, small_network

from jetseg.errors import JetsegError
from jetseg.manifest_file import manifest_path, write_manifest
from jetseg.network import open_network
from jetseg.onnx.cost import onnx_cost
from jetseg.onnx.file import load_onnx
from jetseg.onnx.session import make_session, run_session
from jetseg.onnx.tensors import all_tensors

CANARY = np.full(64, 1234.5, np.float32).tobytes()
ANY_INTEGER = (0, 1, -1, 2, 3, 7, 255, 1 << 31, (1 << 63) - 1, -(1 << 63), 1 << 40)
ANY_FLOAT = (0.0, -1.0, 1e38, float("nan"), float("inf"))
ANY_TEXT = ("", "image", "w1", "logits", "x" * 300, "../canary.bin", "weights.bin", "\0", "ai.onnx", "com.microsoft")
LOCATIONS = (
    "../canary.bin",
    "weights.bin",
    "./weights.bin",
    "link.bin",
    "folder",
    "",
    "/etc/hostname",
    "*/_ORT_MEM_ADDR_/*",
    "a/../../canary.bin",
    "file:../canary.bin",
    "~/x",
    "weights.bin\0",
)
_opened: deque[str] = deque(maxlen=10_000)
"""Files that Python opened since it was cleared."""


def _listen(event: str, arguments: tuple) -> None:
    if event == "open":
        _opened.append(str(arguments[0]))


@pytest.fixture(scope="module", autouse=True)
def _hook() -> None:
    sys.addaudithook(_listen)  # there is no way to take it away


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "canary.bin").write_bytes(CANARY)
    folder = tmp_path / "net"
    (folder / "folder").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(np.zeros(200, np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "canary.bin")
    write_manifest(manifest_path(folder / "net.onnx"), small_manifest())
    return folder


def with_everything() -> onnx.ModelProto:
    """A network with sparse weights, constants, branches, functions and weights elsewhere."""
    model = small_network()
    indices = numpy_helper.from_array(np.arange(3, dtype=np.int64), "indices")
    values = numpy_helper.from_array(np.ones(3, np.float32), "sparse")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [9]))
    constant = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones(3, np.float32), "c"))
    model.functions.append(helper.make_function("own", "three", [], ["y"], [constant], model.opset_import))
    model.opset_import.append(helper.make_opsetid("own", 1))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])])
    yes = numpy_helper.from_array(np.array(True), "yes")
    model.graph.node.extend(
        [
            helper.make_node("three", [], ["from_function"], domain="own"),
            helper.make_node("Constant", [], ["yes"], value=yes),
            helper.make_node("If", ["yes"], ["from_branch"], then_branch=branch, else_branch=branch),
        ]
    )
    return model


def messages(message: Message) -> list[Message]:
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, Message) else value:
                found += messages(inner)
    return found


def change_field(draw: random.Random, model: onnx.ModelProto) -> None:
    message = draw.choice(messages(model))
    field = draw.choice(list(message.DESCRIPTOR.fields))
    values = {
        field.CPPTYPE_STRING: ANY_TEXT,
        field.CPPTYPE_FLOAT: ANY_FLOAT,
        field.CPPTYPE_DOUBLE: ANY_FLOAT,
    }.get(field.cpp_type, ANY_INTEGER)
    value = draw.choice(values)
    if field.type == field.TYPE_BYTES:
        value = str(value).encode()
    with suppress(ValueError, TypeError, AttributeError):  # an integer that the field cannot hold
        held = getattr(message, field.name)
        if draw.random() < 0.3:
            message.ClearField(field.name)
        elif field.message_type is not None:
            same = [one for one in messages(model) if one.DESCRIPTOR is field.message_type]
            if same and hasattr(held, "append") and len(held) < 50:
                held.append(copy.deepcopy(draw.choice(same)))
            elif same:
                held.CopyFrom(copy.deepcopy(draw.choice(same)))
        elif hasattr(held, "append"):
            held.append(value) if not held or draw.random() < 0.5 else held.__setitem__(0, value)
        else:
            setattr(message, field.name, value)


def put_elsewhere(draw: random.Random, model: onnx.ModelProto) -> None:
    tensors = list(all_tensors(model))
    if not tensors:
        return
    tensor = draw.choice(tensors)
    if draw.random() < 0.8:
        tensor.ClearField("raw_data")
    if draw.random() < 0.9:
        tensor.data_location = TensorProto.EXTERNAL
    for _ in range(draw.choice((1, 1, 2))):
        tensor.external_data.add(key="location", value=draw.choice(LOCATIONS))
    if draw.random() < 0.4:
        numbers = ("0", "4", "-4", "1" * 30, "", "x", "64")
        tensor.external_data.add(key=draw.choice(("offset", "length", "checksum")), value=draw.choice(numbers))


def spoil(draw: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    how = draw.randrange(3)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data))
        if how == 0:
            data[place] ^= 1 << draw.randrange(8)
        elif how == 1:
            del data[place : place + draw.randint(1, 20)]
        elif place:
            del data[place:]
    return bytes(data)


def use(path: Path) -> None:
    load_onnx(path)
    network = open_network(path)
    onnx_cost(path, network.manifest)
    with suppress(JetsegError):
        network.float_graph()
    session = make_session(path, threads=1)
    frame = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    for output in run_session(session, [value.name for value in session.get_outputs()], {"image": frame}):
        assert not np.any(np.asarray(output) == 1234.5)


@pytest.mark.fuzz
def test_networks_with_anything_in_them(folder: Path, trials) -> None:
    wholes = [small_network(), with_everything()]
    path, count, valid = folder / "net.onnx", 0, 0
    path.write_bytes(wholes[1].SerializeToString())
    use(path)
    for draw in trials(400):
        count += 1
        model = onnx.ModelProto()
        model.CopyFrom(draw.choice(wholes))
        for _ in range(draw.choice((1, 1, 2, 4))):
            draw.choice((change_field, change_field, put_elsewhere))(draw, model)
        try:
            content = model.SerializeToString()
        except EncodeError:
            continue
        if draw.random() < 0.3:
            content = spoil(draw, content)
        path.write_bytes(content)
        _opened.clear()
        try:
            use(path)
            valid += 1
        except JetsegError:
            pass
        outside = [place for place in _opened if "canary" in place or "hostname" in place]
        assert not outside
    assert 0.05 * count < valid < 0.9 * count
