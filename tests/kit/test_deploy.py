"""Releases change in one step, and whatever fails leaves the one before."""

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from small_kit import make_keys, make_kit, read_kit, rewrite_kit
from small_network import write_dataset, write_small_network

from jetseg.errors import ArtifactError, ConfigError, ManifestError, StorageError
from jetseg.kit import releases as module
from jetseg.kit.releases import changing, current_number, list_releases, open_release, read_record
from jetseg.kit.signature import sign_file, signature_path
from jetseg.manifest_file import manifest_path
from jetseg.monitor.events import EventLog
from jetseg.storage import sha256_file
from jetseg.workflows.deploying import deploy, roll_back
from jetseg.workflows.driving import run_camera
from jetseg.workflows.kits import verify


@pytest.fixture
def folder(float_kit, tmp_path) -> Path:
    """A folder with one release."""
    deploy(float_kit, to=tmp_path / "engines")
    return tmp_path / "engines"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_release_holds_what_it_was_made_of(folder, float_kit):
    assert str((folder / "current").readlink()) == "releases/000001"
    assert names(folder) == ["current", "releases"]
    release = folder / "current"
    assert names(release) == ["release.json", "small.fp32.onnx", "small.fp32.onnx.json", "small.kit.zip"]
    record = read_record(release)
    assert record.kit_sha256 == sha256_file(release / record.kit) == sha256_file(float_kit)
    assert record.engine_sha256 == sha256_file(release / record.engine)
    assert open_release(release).path == release.resolve() / record.engine


def test_the_last_two_are_kept_and_numbers_never_come_back(folder, float_kit):
    deploy(float_kit, to=folder)
    deploy(float_kit, to=folder)
    assert names(folder / "releases") == ["000002", "000003"]
    assert roll_back(folder).number == current_number(folder) == 2
    with pytest.raises(ConfigError, match="no release before"):
        roll_back(folder)
    deploy(float_kit, to=folder)
    assert [(release.number, release.current) for release in list_releases(folder)] == [(2, False), (4, True)]


@pytest.mark.parametrize("what", ["damaged", "gate", "unsigned"])
def test_a_bad_kit_leaves_the_release_before(folder, float_kit, small_kit, tmp_path, what, cli):
    key: tuple[object, ...] = ()
    kit = Path(shutil.copy(float_kit, tmp_path / "bad.kit.zip"))
    if what == "damaged":
        kit.write_bytes(kit.read_bytes()[:-30])
    elif what == "gate":
        other = read_kit(small_kit)["frames/images/001.png"]
        rewrite_kit(float_kit, kit, {"frames/images/000.png": other})
    else:
        key = ("--key", make_keys(tmp_path)[1])
    before = read_record(folder / "current")
    code, out, err = cli("deploy", kit, "--to", folder, "--json", *key)
    assert code == (1 if what == "gate" else 2), err
    assert what != "gate" or (json.loads(out)["engine"], json.loads(out)["release"]) == (None, None)
    assert "Traceback" not in err
    assert (names(folder), names(folder / "releases")) == (["current", "releases"], ["000001"])
    assert read_record(folder / "current") == before


def test_an_unsigned_kit_is_named_as_the_user_did(float_kit, keys, tmp_path):
    with pytest.raises(ArtifactError, match=f"^{re.escape(str(float_kit))} is not signed: .*minisig does not exist"):
        deploy(float_kit, to=tmp_path / "engines", key=keys[1])


def test_a_kit_of_another_network_than_its_frames(folder, tmp_path, small_kit):
    other = make_kit(_made(tmp_path / "other"), seed=1, ranges=False)
    swapped = {name: content for name, content in read_kit(other).items() if name.startswith("network.onnx")}
    kit = rewrite_kit(small_kit, tmp_path / "bad.kit.zip", swapped)
    with pytest.raises(Exception, match="made for another network"):
        deploy(kit, to=folder)
    assert current_number(folder) == 1


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_second_deployment_is_refused(folder, float_kit):
    code = (
        "import sys; from jetseg.workflows.deploying import deploy\n"
        "from jetseg.errors import ConfigError\n"
        "try: deploy(sys.argv[1], to=sys.argv[2])\n"
        "except ConfigError as error: print(error); sys.exit(error.exit_code)"
    )
    with changing(folder):
        done = subprocess.run(
            [sys.executable, "-c", code, float_kit, folder], capture_output=True, text=True, check=False
        )
    assert (done.returncode, "is writing" in done.stdout) == (2, True), done.stderr
    assert current_number(folder) == 1


def test_leftovers_of_a_killed_deployment_are_removed_by_the_next(folder, float_kit):
    (folder / ".staging" / "release").mkdir(parents=True)
    (folder / ".staging" / "current").symlink_to("nowhere")
    unnamed = folder / "releases" / "000002"
    shutil.copytree(folder / "releases" / "000001", unnamed)  # had its number, and the link did not change
    assert deploy(float_kit, to=folder).release.number == 3
    assert names(folder) == ["current", "releases"]
    assert names(folder / "releases") == ["000001", "000003"]


def test_the_link_changes_last(folder, float_kit, monkeypatch):
    """A crash in front of the switch, and a full disk there, leave the release before."""

    def no_room(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_switch", no_room)
    with pytest.raises(StorageError):
        deploy(float_kit, to=folder)
    assert current_number(folder) == 1
    open_release(folder / "current")


def test_a_rollback_looks_at_where_it_goes(folder, float_kit):
    deploy(float_kit, to=folder)
    engine = folder / "releases" / "000001" / read_record(folder / "releases" / "000001").engine
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        roll_back(folder)
    assert current_number(folder) == 2


def test_an_engine_that_was_replaced_in_its_release(folder, tmp_path):
    record = read_record(folder / "current")
    other = write_small_network(_made(tmp_path / "other"), seed=1)
    shutil.copy(other, folder / "current" / record.engine)
    shutil.copy(f"{other}.json", folder / "current" / f"{record.engine}.json")
    with pytest.raises(ArtifactError, match="is not the engine that was deployed"):
        open_release(folder / "current")


@pytest.mark.parametrize("engine", ["../../../etc/passwd", "a/b", "", "x\0"])
def test_a_record_that_names_a_file_elsewhere(folder, engine):
    path = folder / "current" / "release.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"engine": engine}))
    with pytest.raises(ArtifactError, match=r"release\.json cannot be read"):
        open_release(folder / "current")


def test_a_signed_release(float_kit, keys, tmp_path):
    kit = Path(shutil.copy(float_kit, tmp_path / "k.kit.zip"))
    sign_file(kit, keys[0], str)
    folder = tmp_path / "engines"
    assert "sha256:" in deploy(kit, to=folder, key=keys[1]).release.record.signed
    open_release(folder / "current", keys[1])
    with pytest.raises(ArtifactError, match="incompatible key"):
        open_release(folder / "current", make_keys(tmp_path, "other")[1])
    copy = folder / "current" / "k.kit.zip"
    copy.write_bytes(copy.read_bytes()[:-1] + b"\1")
    with pytest.raises(ArtifactError, match="signature verification failed"):
        open_release(folder / "current", keys[1])
    copy.unlink()
    signature_path(copy).unlink()
    with pytest.raises(ArtifactError, match="is not signed"):
        open_release(folder / "current", keys[1])


def test_an_engine_of_another_kit_beside_a_signed_one(float_kit, small_kit, keys, tmp_path):
    kit = Path(shutil.copy(float_kit, tmp_path / "k.kit.zip"))
    sign_file(kit, keys[0], str)
    folder = tmp_path / "engines"
    deploy(kit, to=folder, key=keys[1])
    release = (folder / "current").resolve()
    other = make_kit(_made(tmp_path / "other"), seed=1, ranges=False)
    engine = verify(other, out=release / "k.fp32.onnx").engine
    record = json.loads((release / "release.json").read_text()) | {"engine_sha256": sha256_file(engine)}
    (release / "release.json").write_text(json.dumps(record))
    open_release(release)
    with pytest.raises(ArtifactError, match=r"was not built from k\.kit\.zip"):
        open_release(release, keys[1])


def test_a_run_ends_when_another_release_is_to_drive(folder, float_kit, tmp_path):
    events, opened = EventLog(), threading.Event()
    events.listen(lambda event: opened.set() if event.kind == "release-opened" else None)
    film = write_dataset(tmp_path / "film", frames=190)

    def switch() -> None:
        assert opened.wait(60)
        deploy(float_kit, to=folder)

    thread = threading.Thread(target=switch)
    thread.start()
    result = run_camera(folder / "current", source=film, split="all", pace=2.0, events=events)
    thread.join()
    assert result.summary.frames < 150
    assert result.conditions["engine"].endswith("releases/000001/small.fp32.onnx")
    assert [event.kind for event in events.recent() if event.kind.startswith("release")] == [
        "release-opened",
        "release-changed",
    ]


def test_the_command_line_tells_what_is_deployed(folder, float_kit, cli):
    code, out, _ = cli("deploy", float_kit, "--to", folder, "--json")
    told = json.loads(out)
    assert (code, told["release"]["number"]) == (0, 2)
    assert Path(told["engine"]) == folder / "releases" / "000002" / told["release"]["engine"]
    assert Path(told["engine"]).is_file()
    code, out, _ = cli("deploy", "--status", "--to", folder)
    assert (code, out.splitlines()[1].startswith("000002 drives: small.fp32.onnx of small.kit.zip, fp32")) == (0, True)
    code, out, _ = cli("deploy", "--rollback", "--to", folder, "--json")
    assert (code, json.loads(out)[0]["number"]) == (0, 1)
    assert cli("deploy", "--to", folder)[0] == 2
    assert cli("deploy", float_kit, "--rollback", "--to", folder)[0] == 2
    assert "Nothing is deployed" in cli("deploy", "--status", "--to", folder / "nowhere")[1]


def test_a_changed_manifest_in_a_release(folder):
    """The engine alone is not what drives."""
    manifest = manifest_path(folder / "current" / read_record(folder / "current").engine)
    content = json.loads(manifest.read_text())
    content["input"]["scale"] *= 2
    manifest.write_text(json.dumps(content))
    with pytest.raises(ManifestError, match="was changed since it was written"):
        open_release(folder / "current")


def test_a_release_that_does_not_open_is_not_gone_back_to(folder, float_kit, monkeypatch):
    deploy(float_kit, to=folder)

    def broken(*arguments, **others):
        raise ArtifactError("It was built for another TensorRT.")

    monkeypatch.setattr("jetseg.kit.deploying.open_engine", broken)
    with pytest.raises(ArtifactError, match="another TensorRT"):
        roll_back(folder)
    assert current_number(folder) == 2
