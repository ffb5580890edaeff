"""What `make zoo` makes of the ends of its steps; the networks themselves need libraries that only it installs."""

from pathlib import Path

import pytest
from zoo import chain, networks, table
from zoo.steps import Step, steps_of


@pytest.mark.parametrize(
    ("exit_code", "made", "outcome", "fault"),
    [
        (0, True, "done", False),
        (0, False, "wrong", True),  # says that it is done, and left nothing
        (1, False, "not good enough", False),
        (2, False, "refused", False),
        (70, False, "internal error", True),
        (-9, False, "killed by a signal", True),
        (5, False, "exit code 5", True),
    ],
)
def test_a_step_is_a_fault_unless_it_made_its_file_or_refused_with_a_code_of_jetseg(
    tmp_path: Path, exit_code, made, outcome, fault
):
    if made:
        (tmp_path / "net.onnx").touch()
    step = Step("export", ("jetseg", "export"), makes="net.onnx")
    found = chain.outcome_of(step, tmp_path, exit_code, "Error: no.")
    assert (found, chain.is_fault({"outcome": found})) == (outcome, fault)


def test_a_refusal_without_a_sentence_is_a_fault(tmp_path: Path):
    found = chain.outcome_of(Step("export", ("jetseg", "export")), tmp_path, 2, "")
    assert chain.is_fault({"outcome": found})


def test_every_network_has_a_factory_and_a_row():
    assert len(set(networks.NAMES)) == len(networks.NAMES) >= 20
    done = {"outcome": "done", "seconds": 3.0, "peak_bytes": 5 * 10**8, "sentence": ""}
    records = {
        "export": {**done, "result": {"parameters": 1_400_000}},
        "prune": {**done, "outcome": "refused", "sentence": "Error: a layer named stem.", "result": None},
        "build-engine": {**done, "result": {"integer_layers": 4, "float_layers": ["head"]}},
        "build-engine by default": {
            **done,
            "result": {"precision": "int8", "integer_layers": 2, "float_layers": ["a", "b", "head"]},
        },
        "bench": {**done, "result": {"networks": [{"latency": {"speed_ratio": ratio}} for ratio in (1.0, 0.9, 1.5)]}},
    }
    page = table.page({"stdc1": records}, versions={"torch": "2.13.0"})
    (row,) = [line for line in page.splitlines() if line.startswith("| `stdc1`")]
    cells = ["1,400", "refused", "3, 0.5", "-", "-", "4 of 5", "0.90", "int8, 2 of 5", "1.50"]
    assert [cell.strip() for cell in row.split("|")[2:11]] == cells
    assert "Over float, median of 1: INT8 0.90, what is handed over 1.50." in page
    assert "- `stdc1`, prune: refused. Error: a layer named stem." in page
    assert {step.needs for step in steps_of("stdc1")} <= {step.makes for step in steps_of("stdc1")} | {None}
