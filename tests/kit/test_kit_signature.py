"""Signatures are minisign's, both ways, and hold for every byte."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from small_kit import make_keys
from small_network import edit_manifest, forget_hash, write_dataset, write_small_network

from jetseg.errors import ArtifactError, ConfigError
from jetseg.kit.signature import check_signature, copy_signed, key_in_force, sign_file, signature_path
from jetseg.kit.signed import open_driven, signed_part
from jetseg.storage import sha256_file
from jetseg.workflows.building import build_engine
from jetseg.workflows.calibration import calibrate
from jetseg.workflows.kits import verify

MINISIGN = shutil.which("minisign")
needs_minisign = pytest.mark.skipif(MINISIGN is None, reason="Debian's minisign is not installed")


def never() -> str:
    raise AssertionError("asked for a password")


@pytest.fixture
def signed(float_kit, tmp_path, keys) -> Path:
    kit = shutil.copy(float_kit, tmp_path / "float.kit.zip")
    sign_file(kit, keys[0], never)
    return kit


def minisign(*arguments: object, password: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(MINISIGN), *map(str, arguments)], input=f"{password}\n" * 2, capture_output=True, text=True, check=False
    )


def test_the_comment_says_what_was_signed(signed, keys):
    comment = check_signature(signed, keys[1])
    assert f"sha256:{sha256_file(signed)}" in comment
    assert "file:float.kit.zip" in comment
    assert "date:2" in comment


def check_changed_bytes(kit: Path, key: Path, places: list[int]) -> None:
    content = kit.read_bytes()
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        kit.write_bytes(changed)
        with pytest.raises(ArtifactError, match="signature verification failed"):
            check_signature(kit, key)
    kit.write_bytes(content)


def test_a_changed_byte(signed, keys):
    size = signed.stat().st_size
    check_changed_bytes(signed, keys[1], [0, size - 1, *random.Random(0).sample(range(size), 500)])


@pytest.mark.slow
def test_every_changed_byte(signed, keys):
    check_changed_bytes(signed, keys[1], list(range(signed.stat().st_size)))


def test_a_changed_byte_ends_every_verb_of_the_vehicle(signed, keys, tmp_path, cli):
    content = bytearray(signed.read_bytes())
    content[len(content) // 2] ^= 1
    signed.write_bytes(content)
    for words in (
        ("verify", signed, "--out", tmp_path / "e.onnx"),
        ("build-engine", signed, "--precision", "fp32", "--out", tmp_path / "e.onnx"),
        ("deploy", signed, "--to", tmp_path / "engines"),
    ):
        code, _, err = cli(*words, "--key", keys[1])
        assert (code, "signature verification failed" in err) == (2, True), words[0]
    assert not (tmp_path / "e.onnx").exists()
    assert not (tmp_path / "engines" / "current").exists()


def test_bytes_of_the_signature(signed, keys):
    """Only the untrusted comment may change: minisign does not sign it."""
    place = signature_path(signed)
    content = place.read_bytes()
    for position in range(content.index(b"\n"), len(content) - 1):
        if content[position + 1 : position + 2] == b"=" != content[position : position + 1]:
            continue  # of the last character of base64 some bits say nothing
        changed = bytearray(content)
        changed[position] ^= 1
        place.write_bytes(changed)
        with pytest.raises(ArtifactError):
            check_signature(signed, keys[1])


def test_what_is_checked_is_what_is_used(signed, keys, small_kit, tmp_path, monkeypatch):
    """A kit that is replaced after the check changes nothing."""
    import jetseg.kit.opening as module

    def check_then_replace(*arguments, **options):
        result = check_signature(*arguments, **options)
        shutil.copy(small_kit, signed)
        return result

    monkeypatch.setattr(module, "check_signature", check_then_replace)
    assert verify(signed, key=keys[1], precision="fp32", out=tmp_path / "e.onnx").index.ranges is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda kit, keys: signature_path(kit).unlink(), r"is not signed: .*float\.kit\.zip\.minisig does not exist"),
        (lambda kit, keys: signature_path(kit).write_bytes(b"x" * 20_000), "too long for a signature"),
        (lambda kit, keys: signature_path(kit).write_bytes(b"\xff\n" * 4), "is not what the owner"),
        (lambda kit, keys: keys[1].write_bytes(keys[0].read_bytes()), "is no public key of minisign"),
        (lambda kit, keys: keys[1].unlink(), "should be a public key"),
    ],
)
def test_what_is_no_signature(signed, keys, spoil, words):
    spoil(signed, keys)
    with pytest.raises((ArtifactError, ConfigError), match=words) as caught:
        check_signature(signed, keys[1])
    assert caught.value.exit_code == 2


def test_another_key(signed, tmp_path):
    with pytest.raises(ArtifactError, match="incompatible key identifiers"):
        check_signature(signed, make_keys(tmp_path, "other")[1])


def test_a_setting_refuses_what_is_not_signed(float_kit, signed, keys, tmp_path, monkeypatch):
    monkeypatch.setenv("JETSEG_KEY", str(keys[1]))
    assert key_in_force(None) == keys[1]
    with pytest.raises(ArtifactError, match="is not signed"):
        verify(float_kit, out=tmp_path / "e.onnx")
    with pytest.raises(ArtifactError, match="is not signed"):
        build_engine(float_kit, precision="fp32", out=tmp_path / "e.onnx")
    assert verify(signed, out=tmp_path / "e.onnx").comparison.agreement == 100
    assert key_in_force("other.pub") == Path("other.pub")


def test_a_key_of_the_users_settings(keys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert key_in_force(None) is None
    (tmp_path / "jetseg").mkdir()
    (tmp_path / "jetseg" / "settings.yaml").write_text(f"trusted_key: {keys[1]}\n")
    assert key_in_force(None) == keys[1]


def test_a_network_is_signed_through_its_manifest(tmp_path, keys, cli):
    model = write_small_network(tmp_path)
    with pytest.raises(ArtifactError, match="is not signed"):
        open_driven(model, key=keys[1])
    assert cli("sign", model, "--sign", keys[0])[0] == 0
    assert open_driven(model, key=keys[1]).name == "small"
    edit_manifest(model, lambda content: content["input"].update(mean=[0.1, 0.5, 0.5]))
    with pytest.raises(ArtifactError, match="signature verification failed"):
        open_driven(model, key=keys[1])


def test_a_network_that_was_replaced_under_its_signed_manifest(tmp_path, keys):
    model = write_small_network(tmp_path)
    sign_file(signed_part(model), keys[0], never)
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        open_driven(model, key=keys[1])


def test_a_manifest_without_a_hash_is_not_signed(tmp_path, keys):
    model = write_small_network(tmp_path)
    manifest = forget_hash(model)
    with pytest.raises(ArtifactError, match="says no SHA-256"):
        signed_part(model)
    sign_file(manifest, keys[0], never)
    with pytest.raises(ArtifactError, match="says no SHA-256"):
        open_driven(model, key=keys[1])


@pytest.mark.long
def test_a_run_takes_only_what_is_signed(tmp_path, keys, cli):
    model, film = write_small_network(tmp_path), write_dataset(tmp_path / "film")
    sign_file(signed_part(model), keys[0], never)
    words = ("run", model, "--source", film, "--split", "all", "--key", keys[1])
    assert cli(*words)[0] == 0
    (tmp_path / "other").mkdir()
    other = write_small_network(tmp_path / "other")
    for more in (("--shadow", other), ("--ladder", f"{model},{other}", "--deadline-ms", 50)):
        code, _, err = cli(*words, *more)
        assert (code, "other/small.onnx.json is not signed" in err) == (2, True), err


def test_the_password_is_shown_nowhere(float_kit, tmp_path, cli, monkeypatch):
    secret, public = make_keys(tmp_path, password="correct horse")
    kit = shutil.copy(float_kit, tmp_path / "k.kit.zip")
    code, out, err = cli("sign", kit, "--sign", secret)
    assert (code, "has a password. Set JETSEG_KEY_PASSWORD" in err) == (2, True)
    monkeypatch.setenv("JETSEG_KEY_PASSWORD", "wrong horse")
    code, out, err = cli("--debug", "sign", kit, "--sign", secret)
    assert (code, "wrong password" in err, "wrong horse" in out + err) == (2, True, False)
    monkeypatch.setenv("JETSEG_KEY_PASSWORD", "correct horse")
    code, out, err = cli("sign", kit, "--sign", secret)
    assert (code, "correct horse" in out + err) == (0, False)
    check_signature(kit, public)


def test_a_public_key_signs_nothing(float_kit, keys, tmp_path):
    with pytest.raises(ConfigError, match="is no private key of minisign"):
        sign_file(float_kit, keys[1], never)


def test_no_verb_of_the_vehicle_takes_a_private_key(signed, keys, cli):
    for verb in ("run", "verify", "build-engine", "deploy"):
        assert "--sign" not in cli(verb, "--help")[1]


@needs_minisign
def test_minisign_accepts_ours(signed, keys):
    done = minisign("-V", "-H", "-p", keys[1], "-m", signed)
    assert done.returncode == 0, done.stderr
    assert f"sha256:{sha256_file(signed)}" in done.stdout


@needs_minisign
@pytest.mark.parametrize("password", ["", pytest.param("correct horse", marks=pytest.mark.slow)])
def test_keys_and_signatures_of_minisign(float_kit, tmp_path, password, monkeypatch):
    kit = shutil.copy(float_kit, tmp_path / "k.kit.zip")
    secret, public = tmp_path / "m.key", tmp_path / "m.pub"
    assert minisign("-G", *(() if password else ("-W",)), "-p", public, "-s", secret, password=password).returncode == 0
    sign_file(kit, secret, lambda: password)
    assert minisign("-V", "-p", public, "-m", kit).returncode == 0
    signature_path(kit).unlink()
    assert minisign("-S", "-s", secret, "-m", kit, "-t", "from minisign", password=password).returncode == 0
    assert check_signature(kit, public) == "from minisign"
    assert minisign("-S", "-l", "-s", secret, "-m", kit, password=password).returncode == 0
    with pytest.raises(ArtifactError, match="minisign's old form"):
        check_signature(kit, public)


def test_a_signature_or_a_kit_that_is_far_too_large_is_not_copied(signed, tmp_path, monkeypatch):
    place = tmp_path / "copy"
    place.mkdir()
    with signature_path(signed).open("r+b") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ArtifactError, match=r"float\.kit\.zip\.minisig has 1,099,511\.6 MB, and 0\.02 MB are the most"):
        copy_signed(signed, place)
    assert [file.name for file in place.iterdir()] == [signed.name]
    monkeypatch.setattr("jetseg.kit.signature.MAX_KIT_BYTES", 1000)
    with pytest.raises(ArtifactError, match=r"float\.kit\.zip has .* are the most"):
        copy_signed(signed, place)


def test_ranges_beside_a_signed_network_must_be_signed_too(tmp_path, keys):
    model, data = write_small_network(tmp_path), write_dataset(tmp_path / "data")
    ranges = calibrate(model, data=data, split="all", out=tmp_path / "r.json").path
    sign_file(signed_part(model), keys[0], never)
    request = {"precision": "int8", "ranges": ranges, "key": keys[1], "out": tmp_path / "e.onnx"}
    with pytest.raises(ArtifactError, match=r"r\.json is not signed"):
        build_engine(model, **request)
    sign_file(ranges, keys[0], never)
    assert build_engine(model, **request).manifest.calibration_sha256 == sha256_file(ranges)
    ranges.write_text(ranges.read_text().replace('"method"', ' "method"'))
    with pytest.raises(ArtifactError, match=r"r\.json is not what the owner of fleet\.pub signed"):
        build_engine(model, **request)
