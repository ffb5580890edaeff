import pytest

from jetseg.errors import ConfigError
from jetseg.targets import TARGETS, find_target, recognize_target


def test_an_unknown_target_is_one_sentence_with_the_list():
    with pytest.raises(ConfigError) as caught:
        find_target("orin-micro")
    assert str(caught.value) == (
        "There is no target named orin-micro. "
        "Choose from: xavier-nx, orin-nano-4gb, orin-nano-4gb-super, orin-nano-8gb, orin-nano-8gb-super, orin-nx-8gb, "
        "orin-nx-8gb-super, orin-nx-16gb, orin-nx-16gb-super, agx-orin-32gb, agx-orin-64gb, thor-t4000, thor, cpu."
    )


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_profiles_are_sound(target):
    assert TARGETS[target.name] is target
    assert target.source
    if target.compute_capability is None:
        assert not target.software
        return
    major, minor = target.compute_capability.split(".")
    assert (int(major), int(minor)) >= (7, 2)
    assert target.software
    versions = [tuple(map(int, software.tensorrt.split("."))) for software in target.software]
    assert versions == sorted(versions)
    if target.int8_tops is not None and target.fp16_tflops is not None:
        assert target.fp16_tflops < target.int8_tops


@pytest.mark.parametrize(
    ("name", "sparse_tops", "of_the_gpu"),
    [
        ("orin-nano-4gb", 20, 20),
        ("orin-nano-4gb-super", 34, 34),
        ("orin-nano-8gb", 40, 40),
        ("orin-nano-8gb-super", 67, 67),
        ("orin-nx-8gb", 70, 50),
        ("orin-nx-8gb-super", 117, 77),
        ("orin-nx-16gb", 100, 60),
        ("orin-nx-16gb-super", 157, 77),
        ("agx-orin-32gb", 200, 108),
        ("agx-orin-64gb", 275, 170),
    ],
)
def test_peaks_of_orins_follow_from_the_sparse_figures_that_nvidia_prints(name, sparse_tops, of_the_gpu):
    assert TARGETS[name].int8_tops == pytest.approx(sparse_tops / 2, abs=0.5)
    assert TARGETS[name].fp16_tflops == pytest.approx(of_the_gpu / 4, abs=0.3)


@pytest.mark.parametrize("name", [name for name in TARGETS if name.endswith("-super")])
def test_a_super_mode_is_the_same_board_and_faster(name):
    usual, faster = TARGETS[name.removesuffix("-super")], TARGETS[name]
    assert (faster.board, faster.memory_gb, faster.dla_cores) == (usual.board, usual.memory_gb, usual.dla_cores)
    assert faster.int8_tops > usual.int8_tops
    assert faster.power_mode == "MAXN_SUPER" != usual.power_mode


def test_orins_share_a_compute_capability_and_differ_in_dla():
    orins = {name: target for name, target in TARGETS.items() if "orin" in name}
    assert {target.compute_capability for target in orins.values()} == {"8.7"}
    cores = {name: target.dla_cores for name, target in orins.items() if not name.endswith("-super")}
    assert cores == {
        "orin-nano-4gb": 0,
        "orin-nano-8gb": 0,
        "orin-nx-8gb": 1,
        "orin-nx-16gb": 2,
        "agx-orin-32gb": 2,
        "agx-orin-64gb": 2,
    }


def test_whoever_has_figures_of_its_own_has_a_source_of_its_own():
    sources = [target.source for target in TARGETS.values()]
    assert len(set(sources)) == len(TARGETS)


@pytest.mark.parametrize(
    ("board", "gigabytes", "name"),
    [
        ("NVIDIA Jetson AGX Orin Developer Kit", 61.4, "agx-orin-64gb"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15.3, "orin-nx-16gb"),
        ("NVIDIA Jetson AGX Thor Developer Kit", 122.8, "thor"),
        ("NVIDIA Jetson AGX Orin Developer Kit", 29.9, "agx-orin-32gb"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 7.4, "orin-nx-8gb"),
        ("NVIDIA Jetson Orin Nano Developer Kit", 7.4, "orin-nano-8gb"),
        ("NVIDIA Jetson Orin Nano Developer Kit", 3.7, "orin-nano-4gb"),
        ("NVIDIA Jetson AGX Thor Developer Kit", 60.1, "thor-t4000"),
        ("NVIDIA Jetson Orin Nano Developer Kit", 15.2, None),
        ("Raspberry Pi 5 Model B", 8, None),
    ],
)
def test_boards_are_recognized(board, gigabytes, name):
    target = recognize_target(board, int(gigabytes * 2**30))
    assert (target and target.name) == name


@pytest.mark.parametrize(
    ("mode", "name"),
    [(None, "orin-nx-16gb"), ("MAXN", "orin-nx-16gb"), ("25W", "orin-nx-16gb"), ("MAXN_SUPER", "orin-nx-16gb-super")],
)
def test_the_power_mode_tells_a_super_mode(mode, name):
    assert recognize_target("NVIDIA Jetson Orin NX", int(15.3 * 2**30), mode).name == name
