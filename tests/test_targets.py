import pytest

from jetseg.errors import ConfigError
from jetseg.targets import TARGETS, find_target, recognize_target


def test_an_unknown_target_is_one_sentence_with_the_list():
    with pytest.raises(ConfigError) as caught:
        find_target("orin-micro")
    assert str(caught.value) == (
        "There is no target named orin-micro. "
        "Choose from: xavier-nx, orin-nano-8gb, orin-nx-16gb, agx-orin-64gb, thor, cpu."
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
    [("orin-nano-8gb", 40, 40), ("orin-nx-16gb", 100, 60), ("agx-orin-64gb", 275, 170)],
)
def test_peaks_of_orins_follow_from_the_sparse_figures_that_nvidia_prints(name, sparse_tops, of_the_gpu):
    assert TARGETS[name].int8_tops == pytest.approx(sparse_tops / 2, abs=0.5)
    assert TARGETS[name].fp16_tflops == of_the_gpu / 4


def test_orins_share_a_compute_capability_and_differ_in_dla():
    orins = {name: target for name, target in TARGETS.items() if "orin" in name}
    assert {target.compute_capability for target in orins.values()} == {"8.7"}
    assert {name: target.dla_cores for name, target in orins.items()} == {
        "orin-nano-8gb": 0,
        "orin-nx-16gb": 2,
        "agx-orin-64gb": 2,
    }


@pytest.mark.parametrize(
    ("board", "gigabytes", "name"),
    [
        ("NVIDIA Jetson AGX Orin Developer Kit", 61.4, "agx-orin-64gb"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 15.3, "orin-nx-16gb"),
        ("NVIDIA Jetson AGX Thor Developer Kit", 122.8, "thor"),
        ("NVIDIA Jetson AGX Orin Developer Kit", 29.9, None),
        ("Raspberry Pi 5 Model B", 8, None),
    ],
)
def test_boards_are_recognized(board, gigabytes, name):
    target = recognize_target(board, int(gigabytes * 2**30))
    assert (target and target.name) == name
