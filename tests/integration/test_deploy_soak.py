"""A loop under supervision while kits are deployed, half of them bad, and the power fails."""

import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest
from small_kit import make_keys, make_kit, read_kit, rewrite_kit
from supervisor import Supervised

from jetseg.kit.releases import current_number, list_releases, open_release
from jetseg.kit.signature import sign_file

DEPLOYMENTS, POWER_CUTS, SECONDS_BACK, WATCHDOG_SECONDS = 20, 5, 10.0, 10.0


def other_frames(good: Path, bad: Path) -> None:
    """Frames that the float network never saw: the gate refuses."""
    files = read_kit(good)
    rewrite_kit(good, bad, {"frames/images/000.png": files["frames/images/001.png"]})


def factory(good: Path, bad: Path) -> None:
    """A checkpoint by its manifest, whose factory is somebody's code."""
    manifest = {"kind": "checkpoint", "model": {"factory": "torch.hub:load", "options": {"repo_or_dir": "/tmp/x"}}}
    manifest |= {"classes": ["a", "b", "c"], "input": {"height": 24, "width": 32}}
    rewrite_kit(good, bad, {"network.onnx.json": str(manifest).replace("'", '"').encode()})


def outside(good: Path, bad: Path) -> None:
    """A file with a path that leads out of the folder."""
    bad.write_bytes(good.read_bytes())
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr("../../outside", b"x")


def bomb(good: Path, bad: Path) -> None:
    """Zeros that would fill the disk."""
    bad.write_bytes(good.read_bytes())
    with zipfile.ZipFile(bad, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as stream:
        for _ in range(64):
            stream.write(bytes(1 << 20))


SIGNED_AND_BAD: tuple[Callable[[Path, Path], None], ...] = (other_frames, factory, outside, bomb)


def make_kits(folder: Path) -> tuple[list[Path], list[Path], Path]:
    """Returns good kits, bad ones, and the public key."""
    secret, public = make_keys(folder)
    good = []
    for seed in range(2):
        place = folder / f"seed{seed}"
        place.mkdir()
        good.append(make_kit(place, seed=seed))
    bad = []
    for spoil in SIGNED_AND_BAD:
        bad.append(folder / f"{spoil.__name__}.kit.zip")
        spoil(good[0], bad[-1])
    for kit in (*good, *bad):
        sign_file(kit, secret, str)
    damaged, unsigned = folder / "damaged.kit.zip", folder / "unsigned.kit.zip"
    content = bytearray(good[0].read_bytes())
    content[len(content) // 3] ^= 4
    damaged.write_bytes(content)
    Path(f"{damaged}.minisig").write_bytes(Path(f"{good[0]}.minisig").read_bytes())
    unsigned.write_bytes(good[0].read_bytes())
    return good, [*bad, damaged, unsigned], public


def jetseg(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "jetseg", *map(str, arguments)]


def start_deployment(kit: Path, folder: Path, key: Path) -> subprocess.Popen[str]:
    """Starts one that prints to deployment.txt beside the releases."""
    with (folder.parent / "deployment.txt").open("w") as output:
        return subprocess.Popen(
            jetseg("deploy", kit, "--to", folder, "--key", key, "--threads", 1),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def release_of(said: Path) -> int:
    """Returns which release the last loop opened."""
    lines = [line for line in said.read_text().splitlines() if line.startswith("release-opened: Release ")]
    return int(lines[-1].split()[2])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_loop_is_back_with_a_verified_engine(tmp_path, capsys):
    draw = random.Random(0)
    good, bad, key = make_kits(tmp_path)
    folder, loop = tmp_path / "engines", tmp_path / "loop"
    loop.mkdir()
    assert start_deployment(good[0], folder, key).wait() == 0
    plan = [draw.choice(good) for _ in range(DEPLOYMENTS // 2)]
    plan += [bad[index % len(bad)] for index in range(DEPLOYMENTS // 2)]
    draw.shuffle(plan)
    cuts = {number: draw.uniform(0, 4) for number in draw.sample(range(DEPLOYMENTS), POWER_CUTS)}
    run = jetseg("run", folder / "current", "--key", key, "--source", "synthetic", "--no-labels", "--threads", 1)
    gaps, cut_gaps = [0.0], []
    with Supervised(run, loop, watchdog_seconds=WATCHDOG_SECONDS) as supervisor:
        supervisor.wait_for("READY")
        for number, kit in enumerate(plan):
            before, starts, began = current_number(folder), supervisor.count("STARTED"), monotonic()
            deployment = start_deployment(kit, folder, key)
            if number in cuts:
                with suppress(subprocess.TimeoutExpired):
                    deployment.wait(timeout=cuts[number])
                cut_at = monotonic()
                supervisor.process.kill()
                deployment.kill()
                deployment.wait()
                cut_gaps.append(supervisor.wait_for("READY", after=cut_at, seconds=SECONDS_BACK) - cut_at)
            else:
                deployment.wait()
                ended, output = monotonic(), (tmp_path / "deployment.txt").read_text()
                assert deployment.returncode in ((0,) if kit in good else (1, 2)), output
                if kit in good:
                    back = supervisor.wait_for("READY", after=began, seconds=SECONDS_BACK)
                    gaps.append(max(0.0, back - ended))
                else:
                    assert current_number(folder) == before
                    assert supervisor.count("STARTED") == starts, "a bad kit stopped the loop"
            after = current_number(folder)
            assert after == before or (kit in good and after > before)
            assert release_of(loop / "said.txt") == after
            open_release(folder / "current", key)
            assert len(list_releases(folder)) <= 3  # of which the next deployment leaves two
        starts = supervisor.count("STARTED")
        assert supervisor.count("KILLED") == 0
        assert supervisor.stop() == 0
    assert not (tmp_path / "outside").exists()
    assert start_deployment(good[0], folder, key).wait() == 0
    assert len(list_releases(folder)) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["current", "releases"]
    with capsys.disabled():
        print(  # noqa: T201 - the figures of the soak
            f"\n{DEPLOYMENTS} deployments, {POWER_CUTS} power cuts: ready after at most {max(gaps):.1f} s, after a cut "
            f"{max(cut_gaps):.1f} s; {starts} starts"
        )
