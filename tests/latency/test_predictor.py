"""The predictor learns a device's law from a table; its intervals hold as many networks as they say."""

import pytest
from device import law_ms, network, table, whole_ms

pytest.importorskip("sklearn", reason="predicting from a table needs scikit-learn")

from jetseg.errors import ConfigError
from jetseg.latency.predictor import TablePredictor
from jetseg.latency.table import TableDraft
from jetseg.latency.unit import Unit
from jetseg.onnx.layer_shape import LayerShape


@pytest.fixture(scope="module")
def predictor():
    return TablePredictor(table())


@pytest.mark.long
def test_networks_that_are_not_in_the_table_are_predicted_within_a_tenth(predictor):
    seeds = range(1000, 1040)
    found = {seed: predictor.network(network(seed)) for seed in seeds}
    measured = {seed: whole_ms(network(seed), seed) for seed in seeds}
    errors = sorted(abs(found[seed].latency_ms / measured[seed] - 1) for seed in seeds)
    assert errors[-4] < 0.10
    assert errors[-1] < 0.20
    inside = sum(found[seed].low <= measured[seed] <= found[seed].high for seed in seeds)
    assert 33 <= inside <= 40


@pytest.mark.long
def test_what_is_between_operators_is_part_of_the_latency(predictor):
    units = network(2000, length=200)
    assert predictor.network(units).latency_ms == pytest.approx(1.1 * sum(map(law_ms, units)), rel=0.05)


@pytest.mark.long
def test_an_estimate_tells_whose_it_is_and_how_sure(predictor):
    found = predictor.network(network(3000))
    assert found.low < found.latency_ms < found.high
    assert (found.coverage, found.source, found.note) == (90, "table", "")
    assert found.device == "a device, onnxruntime 1.2.3, fp32, 1 thread(s)"


def test_an_operator_that_the_table_lacks_is_named_and_widens_the_interval(predictor):
    known = network(4000)
    strange = [*known, Unit("Attention", "float", ((1, 64, 48, 48),), (1, 64, 48, 48))]
    before, after = predictor.network(known), predictor.network(strange)
    assert after.note == "The table has no Attention."
    assert after.high / after.latency_ms > before.high / before.latency_ms


def test_layers_are_priced_as_the_operators_that_the_table_holds(predictor):
    narrow, wide = (LayerShape(32, count, 32, 32, kernel=(3, 3), padding=(1, 1)) for count in (16, 64))
    cheap, dear, both = predictor.layers_ms([(narrow,), (wide,), (narrow, LayerShape(16, 8, 32, 32))])
    units = [Unit("Conv", "float", ((1, 32, 32, 32),), (1, count, 32, 32), (count, 32, 3, 3)) for count in (16, 64)]
    assert cheap == pytest.approx(1.1 * law_ms(units[0]), rel=0.2)
    assert dear == pytest.approx(1.1 * law_ms(units[1]), rel=0.2)
    assert both > cheap


@pytest.mark.long
def test_steps_during_which_others_had_the_processor_do_not_count_twice():
    draft = TableDraft(table(0))
    for seed in range(16):
        draft.add(f"drawn {seed}", whole_ms(network(seed), seed), [(unit, 5 * law_ms(unit)) for unit in network(seed)])
    found = TablePredictor(draft.table()).network(network(5000))
    assert found.latency_ms == pytest.approx(whole_ms(network(5000), 0, noise=0), rel=0.15)


def test_too_few_networks_are_refused():
    with pytest.raises(ConfigError, match="has 3 networks; 12 are the least"):
        TablePredictor(table(3))
