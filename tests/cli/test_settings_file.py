"""Settings from a file, from options and from --set: who wins over whom."""

import pytest

from jetseg.cli.settings_file import further, layered, parsed
from jetseg.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("lr: 0.5\nepochs: 7\nmodel_options: {width: 8, depth: 2}\naugment: {scale: [1, 2], blur: 0.1}\n")
    return path


def test_the_file_comes_first_then_options_then_set(file):
    options = {"epochs": 3, "model_options": {"width": 16}}
    found = layered(file, options, ["epochs=9", "augment.blur=0.2", "distill.kd_weight=3"])
    assert found == {
        "lr": 0.5,
        "epochs": 9,
        "model_options": {"width": 16, "depth": 2},
        "augment": {"scale": [1, 2], "blur": 0.2},
        "distill": {"kd_weight": 3},
    }


def test_what_is_set_is_taken_out_of_the_options_that_would_win_over_it(file):
    found = further(file, {"lr": 0.1, "batch_size": 4}, ["lr=0.2"])
    assert (found["batch_size"], "lr" in found, found["training"]["lr"]) == (4, False, 0.2)
    assert further(file, {"lr": 0.1}, None)["lr"] == 0.1
    assert further(None, {}, None) == {"training": {}}


@pytest.mark.parametrize(("text", "message"), [("lr", "sets nothing"), ("=3", "sets nothing"), ("a=[", "not valid")])
def test_malformed_assignments_are_explained(text, message):
    with pytest.raises(ConfigError, match=message):
        layered(None, {}, [text])


def test_files_that_hold_no_settings_are_explained(tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="holds no settings"):
        layered(path, {}, None)
    with pytest.raises(ConfigError, match="could not be read"):
        layered(tmp_path / "absent.yaml", {}, None)


def test_options_of_a_network_are_read_as_yaml():
    assert parsed({"width": "24", "head.bins": "[1, 2]"}) == {"width": 24, "head": {"bins": [1, 2]}}
