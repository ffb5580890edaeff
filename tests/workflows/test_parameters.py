"""Workflows take inputs by parameters and settings by name: no name may be both."""

import inspect

import pytest

from jetseg.compress.config import FactorizeConfig, FineTuneConfig, PruneConfig
from jetseg.compress.qat.config import QatConfig
from jetseg.engine.config import BuildConfig
from jetseg.exporters.config import ExportConfig, PlanConfig
from jetseg.quantization.config import CalibrateConfig
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.config import StartRanges
from jetseg.workflows.exporting import export
from jetseg.workflows.pruning import factorize, prune
from jetseg.workflows.qat import quantization_aware_train


@pytest.mark.parametrize(
    ("workflow", "models"),
    [
        (prune, (PruneConfig, FineTuneConfig)),
        (factorize, (FactorizeConfig, FineTuneConfig)),
        (export, (ExportConfig, PlanConfig)),
        (calibrate, (CalibrateConfig,)),
        (quantization_aware_train, (QatConfig, StartRanges)),
        (build_engine, (BuildConfig,)),
    ],
)
def test_no_setting_has_the_name_of_an_input(workflow, models):
    settings = {name for model in models for name in model.model_fields}
    assert settings & set(inspect.signature(workflow).parameters) == set()
