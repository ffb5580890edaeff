import pytest
import torch
from small_network import edit_manifest

from jetseg.errors import ArtifactError, ConfigError, ManifestError
from jetseg.manifest_file import manifest_path
from jetseg.models import create_model
from jetseg.network import save_manifest
from jetseg.training.checkpoint import load_checkpoint, save_checkpoint
from jetseg.training.plain_weights import import_state_dict


@pytest.fixture
def module():
    torch.manual_seed(0)
    return create_model("tiny", 3, width=8).eval()


def same(first, second) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_what_was_saved_is_loaded(tmp_path, module, manifest):
    path = tmp_path / "net.safetensors"
    written = save_checkpoint(path, module, manifest)
    loaded, read = load_checkpoint(path)
    assert same(loaded, module)
    assert not loaded.training
    assert read == written
    assert read.sha256


def test_pruned_channels_are_rebuilt(tmp_path, module, manifest):
    narrow = create_model("tiny", 3, width=8)
    narrow.refine = type(narrow.refine)(8, 5)
    narrow.classifier = torch.nn.Conv2d(5, 3, 1)
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, narrow.eval(), manifest)
    loaded, _ = load_checkpoint(path)
    frame = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(loaded(frame), narrow(frame))


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"x" + data[1:]])
def test_a_damaged_file_is_refused(tmp_path, module, manifest, damage):
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, module, manifest)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactError, match="SHA-256"):
        load_checkpoint(path)


def test_a_foreign_file_with_a_hand_written_manifest_is_refused(tmp_path, manifest):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"not tensors at all")
    manifest_path(path).write_text(manifest.model_dump_json())
    with pytest.raises(ManifestError, match="but not its sha256 and content_sha256"):
        load_checkpoint(path)
    save_manifest(path, manifest)
    with pytest.raises(ArtifactError, match="not a readable safetensors file"):
        load_checkpoint(path)


def test_weights_of_another_network_are_named(tmp_path, module, manifest):
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, module, manifest)
    edit_manifest(path, lambda content: content.update(model={"factory": "unet", "options": {}}))
    with pytest.raises(ArtifactError, match=r"net\.safetensors: .* lack encoder"):
        load_checkpoint(path)


def test_an_engine_is_no_checkpoint(tmp_path, module, manifest):
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, module, manifest)
    edit_manifest(path, lambda content: content.update(kind="onnx"))
    with pytest.raises(ArtifactError, match="is not a checkpoint: its manifest says kind 'onnx'"):
        load_checkpoint(path)


def test_without_manifest_or_file_or_suffix(tmp_path, module, manifest):
    with pytest.raises(ArtifactError, match="does not exist"):
        load_checkpoint(tmp_path / "net.safetensors")
    (tmp_path / "net.safetensors").write_bytes(b"")
    with pytest.raises(ManifestError, match="has no manifest"):
        load_checkpoint(tmp_path / "net.safetensors")
    with pytest.raises(ConfigError, match=r"\.safetensors file, not net\.pt"):
        save_checkpoint(tmp_path / "net.pt", module, manifest)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"model": {f"_orig_mod.module.{name}": value for name, value in state.items()}},
    ],
)
def test_plain_weights_are_imported(tmp_path, module, wrap):
    torch.save(wrap(module.state_dict()), tmp_path / "net.pth")
    fresh = create_model("tiny", 3, width=8)
    import_state_dict(tmp_path / "net.pth", fresh)
    assert same(fresh, module)


def test_misfits_are_all_named(tmp_path, module):
    state = module.state_dict()
    state["classifier.weight"] = torch.zeros(7, 8, 1, 1)
    state["head.scale"] = state.pop("classifier.bias")
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ArtifactError) as caught:
        import_state_dict(tmp_path / "net.pth", create_model("tiny", 3, width=8))
    message = str(caught.value)
    assert "missing: classifier.bias" in message
    assert "unexpected: head.scale" in message
    assert "classifier.weight (7, 8, 1, 1) instead of (3, 8, 1, 1)" in message


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize("content", [Evil(), torch.nn.Conv2d(1, 1, 1), [1, 2], {}, {"lr": 0.1}])
def test_anything_but_tensors_is_refused(tmp_path, module, content, capsys):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ArtifactError, match=r"net\.pth"):
        import_state_dict(tmp_path / "net.pth", module)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("length", [0, 1, 2, 5, 100, 1000])
def test_a_truncated_pickle_is_refused(tmp_path, module, length):
    path = tmp_path / "net.pth"
    torch.save(module.state_dict(), path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtifactError, match="could not be read as plain tensors"):
        import_state_dict(path, module)
