"""A name in a file calls no code that the user did not name; the network of their own factory is usable all the same."""

import json
import subprocess
import sys

import pytest
import torch
from small_network import edit_manifest

import jetseg
from jetseg import trust
from jetseg.errors import ArtifactError, ConfigError
from jetseg.input_spec import InputSpec
from jetseg.manifest import Manifest, ModelSpec
from jetseg.models import create_model
from jetseg.registry import NETWORKS
from jetseg.training.checkpoint import load_checkpoint, save_checkpoint
from jetseg.workflows.peak_memory import measure_peak_memory

NETS = """
from pathlib import Path
from torch import nn
Path({mark!r}).touch()
def build(num_classes, in_channels=3):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, num_classes, 1))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a module `own_nets` that leaves a mark when it is imported; nothing is trusted yet."""
    monkeypatch.setattr(trust, "_named", set())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_nets.py").write_text(NETS.format(mark=str(tmp_path / "imported")))
    yield tmp_path
    sys.modules.pop("own_nets", None)


@pytest.fixture
def checkpoint(folder, monkeypatch):
    """What somebody made of `own_nets:build`, in another process than this."""
    module = create_model("own_nets:build", 2)
    manifest = Manifest(
        classes=("a", "b"), input=InputSpec(height=8, width=8), model=ModelSpec(factory="own_nets:build")
    )
    save_checkpoint(folder / "net.safetensors", module, manifest)
    trust._named.clear()
    sys.modules.pop("own_nets")
    (folder / "imported").unlink()
    return folder / "net.safetensors"


def write_settings(folder, text):
    (folder / "config" / "jetseg").mkdir(parents=True, exist_ok=True)
    (folder / "config" / "jetseg" / "settings.yaml").write_text(text)


@pytest.mark.parametrize("factory", ["own_nets:build", "torch.hub:load", "os:system", "own_nets", "../x:y"])
def test_what_a_file_names_is_neither_imported_nor_called(folder, checkpoint, factory, monkeypatch):
    monkeypatch.setattr(torch.hub, "load", lambda **_: pytest.fail("called"))
    options = {"repo_or_dir": str(folder), "source": "local"}
    edit_manifest(checkpoint, lambda content: content.update(model={"factory": factory, "options": options}))
    with pytest.raises(jetseg.JetsegError) as caught:
        load_checkpoint(checkpoint)
    assert caught.value.exit_code == 2
    assert not (folder / "imported").exists()


def test_settings_in_the_current_folder_have_no_say(folder, checkpoint, monkeypatch):
    text = "trusted_factories: ['own_nets:build']"
    for place in (
        "settings.yaml",
        "jetseg/settings.yaml",
        ".config/jetseg/settings.yaml",
        "~/.config/jetseg/settings.yaml",
    ):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    for home in (".", "", "~"):
        monkeypatch.setenv("HOME", home)
        for configured in (".", "config", ""):
            monkeypatch.setenv("XDG_CONFIG_HOME", configured)
            with pytest.raises(ArtifactError, match="calls no code that you did not name"):
                load_checkpoint(checkpoint)
    assert not (folder / "imported").exists()


def test_the_message_says_what_to_add_and_that_works(folder, checkpoint, monkeypatch, capsys):
    from jetseg.cli.main import main

    def prune(*more):
        words = ("prune", "net.safetensors", "--ratio", "0.5", "--round-to", "1", "--out", "pruned.safetensors", *more)
        monkeypatch.setattr(sys, "argv", ["jetseg", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, " ".join(capsys.readouterr().err.split())

    code, said = prune()
    assert code == 2
    assert "add `--trust own_nets:build` to the command" in said
    assert "jetseg.open_network(path, trusted=['own_nets:build'])" in said
    assert f"`trusted_factories: ['own_nets:build']` in {folder}/config/jetseg/settings.yaml" in said
    assert prune("--trust", "own_nets:build")[0] == 0
    assert load_checkpoint(folder / "pruned.safetensors")[0][0].out_channels == 2


@pytest.mark.long
def test_python_names_it_when_the_network_is_opened(folder, checkpoint):
    network = jetseg.open_network(checkpoint, trusted=["own_nets:build"])
    assert isinstance(load_checkpoint(network)[0], torch.nn.Sequential)
    assert measure_peak_memory(network, 1) > 0  # in a process of its own, which was told


def test_settings_of_the_user_trust_what_is_installed_not_what_lies_here(folder, checkpoint, monkeypatch):
    write_settings(folder, "trusted_factories: ['own_nets:build']")
    with pytest.raises(ConfigError, match=r"own_nets .* could not be imported"):
        load_checkpoint(checkpoint)
    assert not (folder / "imported").exists()
    monkeypatch.syspath_prepend(folder)  # as installing does
    assert isinstance(load_checkpoint(checkpoint)[0], torch.nn.Sequential)


@pytest.mark.parametrize("text", ["- 1", "trusted_factories: 3", "trusted: []", "a: &a [*a]", "\x00", "!!int ''"])
def test_broken_settings_are_told(folder, checkpoint, text):
    write_settings(folder, text)
    with pytest.raises(ConfigError, match=r"settings\.yaml"):
        load_checkpoint(checkpoint)


def test_networks_of_the_registry_need_no_trust(folder, monkeypatch):
    from jetseg.models.tiny import Tiny

    monkeypatch.setitem(NETWORKS._loaded, "brought-by-a-package", Tiny)
    monkeypatch.setitem(NETWORKS._foreign, "brought-by-a-package", [])
    for name in ("tiny", "brought-by-a-package"):
        manifest = Manifest(
            classes=("a", "b"), input=InputSpec(height=8, width=8), model=ModelSpec(factory=name, options={"width": 8})
        )
        save_checkpoint(folder / "net.safetensors", Tiny(2, width=8), manifest)
        load_checkpoint(folder / "net.safetensors")


def test_options_in_a_file_do_not_change_the_number_of_classes(folder):
    options = {"width": 8, "num_classes": 9, "in_channels": 9}
    manifest = Manifest(
        classes=("a", "b"), input=InputSpec(height=8, width=8), model=ModelSpec(factory="tiny", options={"width": 8})
    )
    save_checkpoint(folder / "net.safetensors", create_model("tiny", 2, width=8), manifest)
    edit_manifest(folder / "net.safetensors", lambda content: content["model"].update(options=options))
    assert load_checkpoint(folder / "net.safetensors")[0](torch.zeros(1, 3, 8, 8)).shape == (1, 2, 8, 8)


def test_no_process_of_jetseg_imports_from_the_current_folder(folder, checkpoint):
    """`python -m` would: a file here could stand in for any library."""
    (folder / "yaml.py").write_text(NETS.format(mark=str(folder / "imported")))
    child = (
        "import sys, json\n"
        "sys.path[:] = filter(None, sys.path)\n"
        "import jetseg\n"
        "from jetseg.workflows.peak_memory import measure_peak_memory\n"
        "print(json.dumps(measure_peak_memory(jetseg.open_network('camvid-light'), 1)))\n"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) > 0
    assert not (folder / "imported").exists()
