import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_network import HEIGHT, WIDTH, small_network

from jetseg.onnx.graph import Graph
from jetseg.onnx.lookup import GraphError
from jetseg.onnx.session import make_session, to_float16

IMAGE = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture
def graph() -> Graph:
    return Graph(small_network())


def run(graph: Graph, output: str = "logits") -> np.ndarray:
    """Checks a graph and its tables, and runs it; returns one of its tensors."""
    graph.check()
    fresh = Graph(graph.model)
    assert [id(node) for node in graph.nodes] == [id(node) for node in fresh.nodes]
    assert {name: node.output[0] for name, node in graph.producer.items()} == {
        name: node.output[0] for name, node in fresh.producer.items()
    }
    assert {name: [node.output[0] for node in nodes] for name, nodes in graph.consumers.items()} == {
        name: [node.output[0] for node in nodes] for name, nodes in fresh.consumers.items()
    }
    assert set(graph.weights) == set(fresh.weights)
    assert set(graph.constants) == set(fresh.constants)
    onnx.checker.check_model(graph.model, full_check=True)
    copy = graph.copy()
    if output not in copy.outputs:
        copy.model.graph.output.append(onnx.ValueInfoProto(name=output))
    (found,) = make_session(copy.model.SerializeToString()).run([output], {"image": IMAGE})
    return found


def node(graph: Graph, output: str) -> onnx.NodeProto:
    return graph.producer[output]


def test_who_makes_and_reads_a_tensor(graph):
    assert graph.inputs == ("image",)
    assert graph.outputs == ("logits",)
    assert graph.opset == 18
    assert graph.producer["r1"].op_type == "Relu"
    assert [reader.output[0] for reader in graph.consumers["r1"]] == ["c2", "sum", "pooled"]
    assert graph.consumers["nothing"] == []
    assert graph.only_consumer("c1") is node(graph, "n1")
    assert graph.only_consumer("r1") is None
    assert graph.only_consumer("logits") is None
    assert [found.output[0] for found in graph.needed_by("pooled")] == ["c1", "n1", "r1", "pooled"]
    assert graph.origin("r1", {"Relu", "BatchNormalization"}) == "c1"
    assert graph.origin("r1", set()) == "r1"


def test_types_and_shapes_follow_rewrites(graph):
    assert graph.shapes["c1"] == (1, 8, HEIGHT // 2, WIDTH // 2)
    assert graph.shapes["w3"] == (16, 1, 3, 3)
    assert graph.types["logits"] == TensorProto.FLOAT
    assert "w3" not in graph.float_tensors()
    graph.insert_after(node(graph, "c1"), helper.make_node("Cast", ["c1"], ["half"], to=TensorProto.FLOAT16))
    assert graph.types["half"] == TensorProto.FLOAT16
    assert graph.shapes["half"] == graph.shapes["c1"]


def test_open_sizes_are_unknown_until_they_are_fixed():
    model = small_network()
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "size"
    model.graph.value_info.append(helper.make_tensor_value_info("c1", TensorProto.FLOAT, [1, 8, "h", "w"]))
    graph = Graph(model)
    assert graph.shapes["image"] == (1, 3, None, None)
    graph.fix_input_size("image", {1: 9, 2: HEIGHT, 3: WIDTH})
    assert graph.shapes["image"] == (1, 3, HEIGHT, WIDTH)
    assert graph.shapes["c1"] == (1, 8, HEIGHT // 2, WIDTH // 2)


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ({"value": numpy_helper.from_array(np.float32([1, 2]))}, np.float32([1, 2])),
        ({"value_float": 0.5}, np.float32(0.5)),
        ({"value_floats": [0.5, 1.0]}, np.float32([0.5, 1.0])),
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [3, 4]}, np.int64([3, 4])),
    ],
)
def test_constant_nodes_are_constants_and_can_be_held_and_set(attribute, expected):
    model = small_network()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], **attribute))
    graph = Graph(model)
    np.testing.assert_array_equal(graph.weight("c"), expected)
    assert graph.weight("c").dtype == expected.dtype
    assert "c" not in graph.weights
    held = graph.copy()
    held.hold_constant(node(held, "c"))
    np.testing.assert_array_equal(held.weight("c"), expected)
    assert "c" in held.weights
    graph.set_weight("c", np.full(expected.shape, 7.0))
    np.testing.assert_array_equal(Graph(graph.model).weight("c"), np.full(expected.shape, 7.0))
    run(graph)
    run(held)


def test_a_constant_of_text_is_no_number():
    model = small_network()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value_string="x"))
    assert "c" not in Graph(model).constants


def test_insert_and_replace_input(graph):
    before = run(graph)
    graph.add_initializer("two", np.float32([2]))
    graph.add_initializer("half", np.float32([0.5]))
    last = graph.insert_after(
        node(graph, "r1"),
        helper.make_node("Mul", ["r1", "two"], ["doubled"]),
        helper.make_node("Mul", ["doubled", "half"], ["same"]),
    )
    assert last is node(graph, "same")
    for reader in graph.readers("r1")[1:]:
        graph.replace_input(reader, "r1", "same")
    assert [reader.output[0] for reader in graph.consumers["same"]] == ["c2", "sum", "pooled"]
    assert [found.output[0] for found in graph.nodes][2:5] == ["r1", "doubled", "same"]
    np.testing.assert_allclose(run(graph), before, atol=1e-5)
    graph.insert_before(node(graph, "c1"), helper.make_node("Mul", ["image", "half"], ["dark"]))
    graph.set_inputs(node(graph, "c1"), ["dark", "w1"])
    assert graph.nodes[0].output[0] == "dark"
    assert not np.allclose(run(graph), before)


def test_a_node_that_reads_a_tensor_twice_is_there_twice(graph):
    graph.replace_input(node(graph, "sum"), "c2", "r1")
    assert [reader.output[0] for reader in graph.consumers["r1"]] == ["c2", "sum", "sum", "pooled"]
    assert [reader.output[0] for reader in graph.readers("r1")] == ["c2", "sum", "pooled"]
    assert "c2" not in graph.consumers
    run(graph)


def test_a_removed_nodes_readers_read_something_else(graph):
    graph.remove_node(node(graph, "r2"), instead="sum")
    assert "r2" not in graph.producer
    assert graph.only_consumer("sum") is node(graph, "both")
    graph.replace_input(node(graph, "both"), "pooled", "r1")
    graph.remove_node(node(graph, "pooled"))
    run(graph)


def test_absorb_keeps_the_name_that_others_read(graph):
    before = run(graph, "r1")
    mean, variance, gamma, beta = (graph.weight(name) for name in ("mean", "variance", "gamma", "beta"))
    factor = gamma / np.sqrt(variance + 1e-5)
    graph.set_weight("w1", graph.weight("w1") * factor[:, None, None, None])
    graph.add_initializer("bias", (beta - mean * factor).astype(np.float32))
    graph.set_inputs(node(graph, "c1"), ["image", "w1", "bias"])
    graph.absorb(node(graph, "c1"), node(graph, "n1"))
    assert node(graph, "n1").op_type == "Conv"
    graph.drop_unused()
    assert not {"mean", "variance", "gamma", "beta"} & set(graph.weights)
    np.testing.assert_allclose(run(graph, "r1"), before, atol=1e-5)


def test_unused_weights_that_are_listed_as_inputs_do_not_become_inputs():
    model = small_network()
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1]), "unused"))
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    graph = Graph(model)
    graph.drop_unused()
    assert graph.inputs == ("image",)
    assert "unused" not in {value.name for value in graph.model.graph.input}
    run(graph)


def test_interpose_stands_before_the_networks_end(graph):
    before = run(graph)
    graph.interpose(helper.make_node("Neg", ["inner"], ["logits"]))
    assert node(graph, "inner").op_type == "Resize"
    np.testing.assert_array_equal(run(graph), -before)


def test_replace_node(graph):
    before = run(graph)
    graph.replace_node(node(graph, "r2"), helper.make_node("LeakyRelu", ["sum"], ["r2"], alpha=0.0))
    np.testing.assert_array_equal(run(graph), before)


def test_outputs_that_nothing_reads_can_be_left_out(graph):
    pool = helper.make_node("MaxPool", ["r1"], ["small", "where"], kernel_shape=[2, 2])
    graph.insert_after(node(graph, "r1"), pool, helper.make_node("Neg", ["small"], ["out"]))
    graph.drop_outputs(node(graph, "small"), 1)
    assert list(node(graph, "small").output) == ["small"]
    assert "where" not in graph.producer
    run(graph)


def test_sorting_mends_the_order_and_leaves_what_is_right():
    expected = small_network()
    model = small_network()
    model.graph.node.reverse()
    graph = Graph(model)
    graph.sort()
    assert [reader.output[0] for reader in graph.consumers["r1"]] == ["c2", "sum", "pooled"]
    run(graph)
    graph = Graph(small_network())
    graph.sort()
    assert graph.model == expected
    graph.set_inputs(graph.producer["r1"], ["sum"])
    with pytest.raises(GraphError, match="waits for what it makes itself"):
        graph.sort()


def test_half_precision_is_in_order():
    graph = Graph(to_float16(small_network()))
    graph.check()
    found = make_session(graph.model.SerializeToString()).run(None, {"image": IMAGE})[0]
    np.testing.assert_allclose(found, run(Graph(small_network())), atol=0.02)


def test_names_are_free_until_something_has_them(graph):
    assert graph.free_name("new") == "new"
    assert graph.free_name("r1") == "r1.1"
    graph.add_initializer("r1.1", np.float32([1]))
    assert graph.free_name("r1") == "r1.2"
    assert graph.free_name("image") == "image.1"


REFUSED = {
    "unknown input": lambda g: g.set_inputs(node(g, "r1"), ["nowhere"]),
    "input that is not read": lambda g: g.replace_input(node(g, "r1"), "c1", "image"),
    "unknown new input": lambda g: g.replace_input(node(g, "r1"), "n1", "nowhere"),
    "name taken by a node": lambda g: g.insert_after(None, helper.make_node("Neg", ["image"], ["r1"])),
    "name taken by a weight": lambda g: g.insert_after(None, helper.make_node("Neg", ["image"], ["w1"])),
    "name taken by the input": lambda g: g.add_initializer("image", np.float32([1])),
    "name made twice at once": lambda g: g.insert_after(
        None, helper.make_node("Neg", ["image"], ["a"]), helper.make_node("Neg", ["image"], ["a"])
    ),
    "inserted node reads nothing known": lambda g: g.insert_after(None, helper.make_node("Neg", ["nowhere"], ["a"])),
    "dangling reader": lambda g: g.remove_node(node(g, "r1")),
    "readers of what does not exist": lambda g: g.remove_node(node(g, "r1"), instead="nowhere"),
    "readers of itself": lambda g: g.remove_node(node(g, "r1"), instead="r1"),
    "output of the network": lambda g: g.remove_node(node(g, "logits"), instead="c4"),
    "node of another graph": lambda g: g.set_inputs(helper.make_node("Neg", ["image"], ["a"]), ["image"]),
    "several readers": lambda g: g.absorb(node(g, "r1"), node(g, "c2")),
    "other tensors": lambda g: g.replace_node(node(g, "r1"), helper.make_node("Neg", ["n1"], ["a"])),
    "no producer": lambda g: g.interpose(helper.make_node("Neg", ["inner"], ["image"])),
    "inner name taken": lambda g: g.interpose(helper.make_node("Neg", ["r1"], ["logits"])),
    "another input unknown": lambda g: g.interpose(helper.make_node("Add", ["inner", "nowhere"], ["logits"])),
    "output still read": lambda g: g.drop_outputs(node(g, "r1"), 0),
    "no constant": lambda g: g.set_weight("r1", np.float32([1])),
}


@pytest.mark.parametrize("rewrite", REFUSED.values(), ids=REFUSED)
def test_a_rewrite_that_would_break_the_graph_is_refused_and_changes_nothing(graph, rewrite):
    content = graph.model.SerializeToString()
    with pytest.raises(GraphError):
        rewrite(graph)
    assert graph.model.SerializeToString() == content
    run(graph)


BROKEN = {
    "order": (lambda g: g.node.insert(0, g.node[3]), "reads r1, which nothing before it makes"),
    "twice": (lambda g: g.node.append(g.node[3]), "makes c2, which is there already"),
    "missing": (lambda g: g.node.pop(2), "reads r1"),
    "output": (lambda g: g.node.pop(), "Nothing makes the output logits"),
    "initializers": (lambda g: g.initializer.append(g.initializer[0]), "w1 is given twice"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_check_names_what_is_broken(change, message):
    model = small_network()
    change(model.graph)
    with pytest.raises(GraphError, match=message):
        Graph(model).check()


def test_what_a_branch_takes_from_outside_counts_as_read():
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Neg" if name == "then" else "Abs", ["r2"], ["inner"])],
            name,
            [],
            [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    model = small_network()
    model.graph.initializer.append(numpy_helper.from_array(np.bool_([True]), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["chosen"], **branches))
    graph = Graph(model)
    graph.check()
    assert [reader.op_type for reader in graph.readers("r2")] == ["Concat", "If"]
    with pytest.raises(GraphError, match="still read"):
        graph.remove_node(node(graph, "r2"), instead="sum")


def test_a_part_has_the_weights_that_it_reads(graph):
    made = helper.make_tensor_value_info("r1", TensorProto.FLOAT, None)
    part = graph.part(graph.nodes[:3], [graph.model.graph.input[0]], [made])
    assert sorted(tensor.name for tensor in part.graph.initializer) == ["beta", "gamma", "mean", "variance", "w1"]
    (found,) = make_session(part.SerializeToString()).run(None, {"image": IMAGE})
    np.testing.assert_allclose(found, run(graph, "r1"), atol=1e-6)
