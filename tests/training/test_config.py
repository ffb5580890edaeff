"""Settings of training: described, read under old names, compared on resuming."""

from pathlib import Path

import pytest

from jetseg.compress.config import FactorizeConfig, FineTuneConfig, PruneConfig
from jetseg.compress.qat.config import QatConfig
from jetseg.config import validate_config
from jetseg.errors import ConfigError
from jetseg.exporters.config import ExportConfig, PlanConfig
from jetseg.training.config import DistillConfig, TrainConfig
from jetseg.training.state import check_resumable

GIVEN = {"data": "synthetic:4", "out": "run"}


@pytest.mark.parametrize(
    "model",
    [
        TrainConfig,
        DistillConfig,
        PruneConfig,
        FactorizeConfig,
        FineTuneConfig,
        QatConfig,
        ExportConfig,
        PlanConfig,
    ],
)
def test_every_setting_is_described(model):
    bare = [name for name, info in model.model_fields.items() if not info.description]
    assert bare == []


def test_a_renamed_setting_is_read_under_its_old_name(caplog):
    assert validate_config(TrainConfig, {**GIVEN, "val_split": "test"}).eval_split == "test"
    old = validate_config(QatConfig, {"val_split": "test", "ranges": "fixed"})
    assert (old.eval_split, old.scales) == ("test", "fixed")
    assert "val_split is now called eval_split" in caplog.text
    with pytest.raises(ConfigError, match="val_split is the old name of eval_split"):
        validate_config(TrainConfig, {**GIVEN, "val_split": "test", "eval_split": "val"})


def test_a_run_that_was_begun_under_the_old_name_goes_on():
    now = validate_config(TrainConfig, GIVEN).identity()
    earlier = {("val_split" if key == "eval_split" else key): value for key, value in now.items()}
    check_resumable(Path("run"), earlier, now)
    with pytest.raises(ConfigError, match="eval_split: 'test' then, 'val' now"):
        check_resumable(Path("run"), {**earlier, "val_split": "test"}, now)
