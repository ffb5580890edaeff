"""Computers that vehicles carry, as data: what a network built for them may count on.

Peaks and bandwidths are from the documents of NVIDIA's that `Target.source` names, as others quote them, in the power
mode MAXN; nothing here was measured. INT8 is dense over GPU and DLA together, half of the sparse figure that NVIDIA
prints. FP16 is dense on the GPU alone; where NVIDIA prints none, it is a quarter of the GPU's sparse INT8, the ratio of
Orin's tensor cores. A figure that no document gives is None.
"""

from __future__ import annotations

from jetseg.config import Record
from jetseg.errors import ConfigError


class Software(Record):
    """A JetPack release for a target, with the TensorRT that it brings."""

    jetpack: str
    tensorrt: str


class Target(Record):
    """One computer.

    Attributes:
        name: Name on the command line.
        title: Name for people.
        board: Words of the board's model name (/proc/device-tree/model) that mean this target.
        compute_capability: Of its GPU, as in "8.7"; None without one.
        memory_gb: Memory, which processor and GPU share.
        bandwidth_gb_per_s: Of that memory.
        int8_tops: Peak in INT8.
        fp16_tflops: Peak in FP16.
        dla_cores: Deep-learning accelerators on the chip; the software may offer fewer.
        software: Releases, oldest first.
        source: Where the figures are from.
        note: What a user must know.
    """

    name: str
    title: str
    board: tuple[str, ...] = ()
    compute_capability: str | None = None
    memory_gb: float | None = None
    bandwidth_gb_per_s: float | None = None
    int8_tops: float | None = None
    fp16_tflops: float | None = None
    dla_cores: int = 0
    software: tuple[Software, ...] = ()
    source: str
    note: str = ""


_JETPACK_6 = Software(jetpack="6.2", tensorrt="10.3")
_JETPACK_7 = Software(jetpack="7.2.1", tensorrt="10.16")
_JETPACK_7_2_2 = Software(jetpack="7.2.2", tensorrt="11.4.1")
_SUPER = "Figures are of the standard power modes; the Super modes of JetPack 6.2"

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="xavier-nx",
            title="Jetson Xavier NX, 8 GB",
            board=("xavier nx",),
            compute_capability="7.2",
            memory_gb=8,
            bandwidth_gb_per_s=59.7,
            int8_tops=21,
            dla_cores=2,
            software=(Software(jetpack="5.1", tensorrt="8.5"),),
            source="NVIDIA's comparison of Jetson modules",
            note="JetPack 5 is its last, and TensorRT 8.5 is older than what jetseg builds for: use the CPU engine.",
        ),
        Target(
            name="orin-nano-8gb",
            title="Jetson Orin Nano, 8 GB",
            board=("orin nano",),
            compute_capability="8.7",
            memory_gb=8,
            bandwidth_gb_per_s=68,
            int8_tops=20,
            fp16_tflops=10,
            software=(_JETPACK_6, _JETPACK_7),
            source="NVIDIA, Jetson Orin Nano Developer Kit Gets a Super Boost: 40 TOPS sparse, 20 dense, 10 TFLOPS",
            note=f"{_SUPER} give 33 TOPS, 17 TFLOPS and 102 GB/s. No DLA.",
        ),
        Target(
            name="orin-nx-16gb",
            title="Jetson Orin NX, 16 GB",
            board=("orin nx",),
            compute_capability="8.7",
            memory_gb=16,
            bandwidth_gb_per_s=102,
            int8_tops=50,
            fp16_tflops=15,
            dla_cores=2,
            software=(_JETPACK_6, _JETPACK_7),
            source="NVIDIA Jetson Orin NX Series data sheet DS-10712-001 v1.7: 100 TOPS sparse, of which the DLA 40",
            note=f"{_SUPER} give 78 TOPS and 19 TFLOPS. Of its TensorRT versions, only 10.3 offers the DLA.",
        ),
        Target(
            name="agx-orin-64gb",
            title="Jetson AGX Orin, 64 GB",
            board=("agx orin",),
            compute_capability="8.7",
            memory_gb=64,
            bandwidth_gb_per_s=204.8,
            int8_tops=138,
            fp16_tflops=42.5,
            dla_cores=2,
            software=(_JETPACK_6, _JETPACK_7, _JETPACK_7_2_2),
            source="NVIDIA Jetson AGX Orin Series data sheet DS-10662-001 v1.8: 275 TOPS sparse, of which the GPU 170",
            note="TensorRT 10.3 and, with JetPack 7.2.2, 11.4.1 offer the DLA; the versions between them do not.",
        ),
        Target(
            name="thor",
            title="Jetson AGX Thor (T5000), 128 GB",
            board=("thor",),
            compute_capability="11.0",
            memory_gb=128,
            bandwidth_gb_per_s=273,
            software=(Software(jetpack="7.0", tensorrt="10.13"), _JETPACK_7, _JETPACK_7_2_2),
            source="NVIDIA Jetson Thor Series data sheet DS-11945-001; no DLA: TensorRT 11.4.1, Working with DLA",
            note="NVIDIA quotes FP4 (2070 TFLOPS, sparse), not INT8. No DLA.",
        ),
        Target(
            name="cpu",
            title="Any processor, with ONNX Runtime",
            source="not applicable: processors differ; `jetseg bench` measures yours",
        ),
    )
}


def find_target(name: str) -> Target:
    """Returns a target by name.

    Raises:
        ConfigError: There is none; the names that exist are listed.

    >>> find_target("orin-nano-8gb").compute_capability
    '8.7'
    """
    if name not in TARGETS:
        raise ConfigError(f"There is no target named {name}.", f"Choose from: {', '.join(TARGETS)}.")
    return TARGETS[name]


def recognize_target(board: str, memory_bytes: int) -> Target | None:
    """Returns the target that a board is, by its model name and memory; None for a board without a profile.

    The system sees somewhat less memory than the data sheet gives; a smaller sibling has half.

    >>> recognize_target("NVIDIA Jetson Orin Nano Developer Kit", int(7.99e9)).name
    'orin-nano-8gb'
    >>> recognize_target("NVIDIA Jetson Orin Nano Developer Kit", int(3.9e9)) is None
    True
    """
    model = board.lower()
    for target in TARGETS.values():
        nominal = (target.memory_gb or 0) * 2**30
        if any(words in model for words in target.board) and 0.75 * nominal < memory_bytes <= nominal:
            return target
    return None
