"""The page about an advice: complete in itself, and nothing in it that a name put there."""

import re
from pathlib import Path

import pytest

from jetseg.advice.advising import Advice
from jetseg.advice.chains import AS_IT_IS, Chain
from jetseg.advice.config import AdviseConfig
from jetseg.advice.finding import Bars, Finding, Option
from jetseg.advice.page import write_page
from jetseg.advice.plan import Plan
from jetseg.advice.stopwatch import Comparison

INT8 = Plan(precision="int8")
HOSTILE = "<script>layer</script>"


@pytest.fixture
def advice() -> Advice:
    bars = Bars("Each layer alone in 8 bits", "percent", [HOSTILE, "head"], [3.0, 1.0])
    twice = Bars("Each group of layers alone", "percent", ["stem", "head"], [7.5, 2.5])
    options = (
        Option(INT8, 1.4, 0.2, 0.0, "predicted", "measured", "measured here"),
        Option(Plan(qat=True), None, None, 0.0, "prior", "prior", "a"),
        Option(Plan(two_four=True), 1.2, 1.1, 0.0, "prior", "prior", "b"),
    )
    findings = (
        Finding("int8", options, ("99.5 % of the pixels keep their class",), figures=(bars,), seconds=3.2),
        Finding("pruning", notes=(HOSTILE,), figures=(twice,)),
        Finding("low rank", impossible="factors are not faster"),
    )
    first = Chain(INT8, 1.4, 0.2, 0.0, "predicted", "measured", Comparison(10.0, 7.1, 6.0, 9.5))
    conditions = {
        "data": "camvid:x",
        "split": "val",
        "frames": 32,
        "speeds": "predicted roughly",
        "threads": 1,
        "device": "a board",
        "toolchain": {"jetseg": "1"},
    }
    recipes = (Path("net.advice.yaml"), None)
    return Advice(findings, (first, AS_IT_IS), recipes, None, 10.0, 66.5, conditions, 12.0)


def test_it_tells_chains_techniques_reasons_and_intervals(advice, tmp_path):
    write_page(tmp_path / "a.html", "net.onnx", AdviseConfig(budget_ms=8.0), advice)
    page = (tmp_path / "a.html").read_text()
    for text in (
        *("What makes net.onnx faster", "1.40", "6.00 to 9.50", "factors are not faster", "at most 8 ms"),
        *("99.5 % of the pixels keep their class", "net.advice.yaml", "66.5%", "predicted roughly"),
    ):
        assert text in page
    assert page.count("<svg") == 3
    assert page.count("prior: a guess") == 2, "speed and loss of 2:4"
    assert HOSTILE not in page
    assert "&lt;script&gt;layer" in page
    assert "url(http" not in page
    assert 'src="http' not in page


def test_figures_of_one_page_share_no_id(advice, tmp_path):

    write_page(tmp_path / "a.html", "net.onnx", AdviseConfig(), advice)
    ids = re.findall(r'\bid="([^"]+)"', (tmp_path / "a.html").read_text())
    assert len(ids) == len(set(ids)) > 0
