"""`lint` says of every operator and attribute what NVIDIA's real parser says; it needs no GPU."""

import collections
import itertools

import onnx
import pytest
from parser_cases import cases
from real_parser import RealParser

from jetseg.engine.tensorrt.legalize import legalize_
from jetseg.engine.tensorrt.lint import _load, lint
from jetseg.engine.tensorrt.lint_config import LintConfig
from jetseg.errors import JetsegError
from jetseg.quantization.tensorrt.rules import UNKNOWN_OPERATORS

BUILDER_REFUSES = {
    "ConvTranspose strides and dilations",
    "ConvTranspose strides and dilations, one axis each",
    "TopK k=3841",
    "TopK k=4000",
    "Cast to FLOAT8E4M3FN",
    "Cast to INT4",
    "dynamic batch",
    "dynamic size",
}
"""The parser takes these, and the builder does not, as the slow test sees; lint speaks of both."""
INT8_CONSTANT = "it reads a constant of int8, which only a dequantizer may."
"""Likewise."""
READ_WRONGLY = {"QuantizeLinear uint8"}
"""The parser takes uint8 as int8, in silence."""
NOT_BUILT = {
    "NonMaxSuppression",
    "TensorScatter",
    "TopK computed k",
    "CumSum computed axis",
    "Slice computed",
    "Tile computed",
}
"""The parser takes these; the builder lacks a kernel, or asks for a range of an integer input."""


@pytest.fixture(scope="module")
def parser():
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    with RealParser() as real:
        yield real


def sound_cases(share):
    """Gives one in so many of the graphs that ONNX itself calls right."""
    for name, model in itertools.islice(cases(), 0, None, share):
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            if "Field 'shape'" not in str(error):  # of an output, which is no fault
                continue
        yield name, model


def judged(parser, path, wanted=lambda _: True, share=1, build=False):
    """Yields each graph's name, what lint says and whether NVIDIA takes what jetseg's builder would hand to it."""
    for name, model in sound_cases(share):
        if not wanted(name):
            continue
        path.write_bytes(model.SerializeToString())
        try:
            graph = _load(path, None)
        except JetsegError:
            continue  # named as it is opened: branches, loops, weights in 16 bits
        legalize_(graph)
        said = [finding.found for finding in lint(path, LintConfig()).findings if finding.kind == "refused"]
        yield name, said, parser.takes(graph.model, build)


@pytest.mark.parametrize("share", [16, pytest.param(1, marks=pytest.mark.slow)])
def test_lint_says_refused_where_the_parser_refuses_and_nowhere_else(parser, tmp_path, share):
    counts, wrong = collections.Counter(), []
    for name, said, taken in judged(parser, tmp_path / "n.onnx", share=share):
        counts[taken] += 1
        if bool(said) == taken and name not in BUILDER_REFUSES | READ_WRONGLY and INT8_CONSTANT not in said:
            wrong.append((name, said, "taken" if taken else "refused"))
    assert wrong == []
    assert counts[True] > 1000 // share
    assert counts[False] > 100 // share


def test_every_operator_of_onnx_is_known_or_not_as_to_the_parser(parser):
    names = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert {name for name in names if not parser.knows(name)} == UNKNOWN_OPERATORS & names


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_lint_lets_pass_is_built(parser, tmp_path):
    def wanted(name):  # recurrent networks are unrolled, and take minutes each; the builder dies of Attention
        return not name.startswith(("GRU", "LSTM", "RNN", "Attention"))

    wrong = [
        (name, said, taken)
        for name, said, taken in judged(parser, tmp_path / "n.onnx", wanted, build=True)
        if bool(said) == taken and name not in READ_WRONGLY | NOT_BUILT and INT8_CONSTANT not in said
    ]
    assert wrong == []
