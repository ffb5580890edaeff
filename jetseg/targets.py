"""Computers that vehicles carry, as data: what a network built for them may count on.

Peaks and bandwidths are from the documents of NVIDIA's that `Target.source` names, as others quote them, in the power
mode that `Target.power_mode` names; nothing here was measured. INT8 is dense over GPU and DLA together, half of the
sparse figure that NVIDIA prints. FP16 is dense on the GPU alone; where NVIDIA prints none, it is a quarter of the GPU's
sparse INT8, the ratio of Orin's tensor cores. A figure that no document gives is None.
"""

from __future__ import annotations

from jetseg.config import Record, changed
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
        power_mode: The mode that the figures are of, as nvpmodel names it; None where it is not known.
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
    power_mode: str | None = None
    dla_cores: int = 0
    software: tuple[Software, ...] = ()
    source: str
    note: str = ""


_JETPACK_6 = Software(jetpack="6.2", tensorrt="10.3")
_JETPACK_7_1 = Software(jetpack="7.1", tensorrt="10.13")
_JETPACK_7 = Software(jetpack="7.2.1", tensorrt="10.16")
_JETPACK_7_2_2 = Software(jetpack="7.2.2", tensorrt="11.4.1")

_SUPER = "NVIDIA, JetPack 6.2 Brings Super Mode to Jetson Orin Nano and Jetson Orin NX Modules: "
_NANO_KIT = "NVIDIA, Jetson Orin Nano Developer Kit Gets a Super Boost: "
_NX_SHEET = "NVIDIA Jetson Orin NX Series data sheet DS-10712-001 v1.7: "
_AGX_SHEET = "NVIDIA Jetson AGX Orin Series data sheet DS-10662-001 v1.8: "


def _with_super(usual: Target, **faster: str | float) -> tuple[Target, Target]:
    """Returns a device in its standard mode and in the Super mode of JetPack 6.2, of which it says what differs."""
    mode = changed(
        usual,
        name=f"{usual.name}-super",
        title=f"{usual.title}, Super mode",
        power_mode="MAXN_SUPER",
        **faster,
    )
    told = f"Figures are of the standard power modes; for the Super mode of JetPack 6.2, name the target {mode.name}."
    return changed(usual, note=f"{told} {usual.note}"), mode


_XAVIER_NX = Target(
    name="xavier-nx",
    title="Jetson Xavier NX, 8 GB",
    board=("xavier nx",),
    compute_capability="7.2",
    memory_gb=8,
    bandwidth_gb_per_s=59.7,
    int8_tops=21,
    fp16_tflops=6,
    dla_cores=2,
    software=(Software(jetpack="5.1", tensorrt="8.5"),),
    source="NVIDIA's comparison of Jetson modules: 21 TOPS, 6 TFLOPS (FP16)",
    note="JetPack 5 is its last, and TensorRT 8.5 is older than what jetseg builds for: use the CPU engine.",
)
_ORIN_NANO_8GB = Target(
    name="orin-nano-8gb",
    title="Jetson Orin Nano, 8 GB",
    board=("orin nano",),
    compute_capability="8.7",
    memory_gb=8,
    bandwidth_gb_per_s=68,
    int8_tops=20,
    fp16_tflops=10,
    power_mode="15W",
    software=(_JETPACK_6, _JETPACK_7),
    source=f"{_NANO_KIT}40 TOPS sparse, 20 dense, 10 TFLOPS",
    note="No DLA.",
)
_ORIN_NANO_4GB = changed(
    _ORIN_NANO_8GB,
    name="orin-nano-4gb",
    title="Jetson Orin Nano, 4 GB",
    memory_gb=4,
    bandwidth_gb_per_s=34,
    int8_tops=10,
    fp16_tflops=5,
    power_mode="10W",
    source="NVIDIA Jetson Orin Nano Series data sheet: 20 TOPS sparse, 34 GB/s",
)
_ORIN_NX_16GB = changed(
    _ORIN_NANO_8GB,
    name="orin-nx-16gb",
    title="Jetson Orin NX, 16 GB",
    board=("orin nx",),
    memory_gb=16,
    bandwidth_gb_per_s=102,
    int8_tops=50,
    fp16_tflops=15,
    power_mode="MAXN",
    dla_cores=2,
    source=f"{_NX_SHEET}100 TOPS sparse, of which the DLA 40",
    note="Of its TensorRT versions, only 10.3 offers the DLA.",
)
_ORIN_NX_8GB = changed(
    _ORIN_NX_16GB,
    name="orin-nx-8gb",
    title="Jetson Orin NX, 8 GB",
    memory_gb=8,
    int8_tops=35,
    fp16_tflops=12.5,
    dla_cores=1,
    source=f"{_NX_SHEET}70 TOPS sparse, of which the DLA 20",
)
_AGX_ORIN_64GB = changed(
    _ORIN_NX_16GB,
    name="agx-orin-64gb",
    title="Jetson AGX Orin, 64 GB",
    board=("agx orin",),
    memory_gb=64,
    bandwidth_gb_per_s=204.8,
    int8_tops=138,
    fp16_tflops=42.5,
    software=(_JETPACK_6, _JETPACK_7, _JETPACK_7_2_2),
    source=f"{_AGX_SHEET}275 TOPS sparse, of which the GPU 170",
    note="TensorRT 10.3 and, with JetPack 7.2.2, 11.4.1 offer the DLA; the versions between them do not.",
)
_AGX_ORIN_32GB = changed(
    _AGX_ORIN_64GB,
    name="agx-orin-32gb",
    title="Jetson AGX Orin, 32 GB",
    memory_gb=32,
    int8_tops=100,
    fp16_tflops=27,
    source=f"{_AGX_SHEET}200 TOPS sparse, of which the GPU 108",
)
_THOR = Target(
    name="thor",
    title="Jetson AGX Thor (T5000), 128 GB",
    board=("thor",),
    compute_capability="11.0",
    memory_gb=128,
    bandwidth_gb_per_s=273,
    power_mode="MAXN",
    software=(Software(jetpack="7.0", tensorrt="10.13"), _JETPACK_7, _JETPACK_7_2_2),
    source="NVIDIA Jetson Thor Series data sheet DS-11945-001; no DLA: TensorRT 11.4.1, Working with DLA",
    note="NVIDIA quotes FP4 (2070 TFLOPS, sparse), not INT8. No DLA.",
)
_THOR_T4000 = changed(
    _THOR,
    name="thor-t4000",
    title="Jetson T4000, 64 GB",
    board=("thor", "t4000"),
    memory_gb=64,
    software=(_JETPACK_7_1, _JETPACK_7, _JETPACK_7_2_2),
    source="NVIDIA Jetson T4000, announced with JetPack 7.1: 1200 TFLOPS (FP4, sparse), 64 GB, 273 GB/s",
    note="NVIDIA quotes FP4, not INT8. No DLA.",
)
_CPU = Target(
    name="cpu",
    title="Any processor, with ONNX Runtime",
    source="not applicable: processors differ; `jetseg bench` measures yours",
)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        _XAVIER_NX,
        *_with_super(
            _ORIN_NANO_4GB,
            bandwidth_gb_per_s=51,
            int8_tops=17,
            fp16_tflops=8.5,
            source=f"{_SUPER}34 TOPS sparse, 51 GB/s",
        ),
        *_with_super(
            _ORIN_NANO_8GB,
            bandwidth_gb_per_s=102,
            int8_tops=33,
            fp16_tflops=17,
            source=f"{_NANO_KIT}67 TOPS sparse, 33 dense, 17 TFLOPS",
        ),
        *_with_super(
            _ORIN_NX_8GB, int8_tops=58, fp16_tflops=19, source=f"{_SUPER}117 TOPS sparse, of which the DLA 40"
        ),
        *_with_super(
            _ORIN_NX_16GB, int8_tops=78, fp16_tflops=19, source=f"{_SUPER}157 TOPS sparse, of which the DLA 80"
        ),
        _AGX_ORIN_32GB,
        _AGX_ORIN_64GB,
        _THOR_T4000,
        _THOR,
        _CPU,
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


def recognize_target(board: str, memory_bytes: int, power_mode: str | None = None) -> Target | None:
    """Returns the target that a board is, by its model name and memory; None for a board without a profile.

    The system sees somewhat less memory than the data sheet gives; a smaller sibling has half. A Super mode is a target
    of its own, and is told by the power mode; without it, the board is taken to be in its standard mode.

    >>> recognize_target("NVIDIA Jetson Orin Nano Developer Kit", int(7.99e9)).name
    'orin-nano-8gb'
    >>> recognize_target("NVIDIA Jetson Orin Nano Developer Kit", int(7.99e9), "MAXN_SUPER").name
    'orin-nano-8gb-super'
    >>> recognize_target("NVIDIA Jetson Orin Nano Developer Kit", int(1.9e9)) is None
    True
    """
    model = board.lower()
    found = [
        target
        for target in TARGETS.values()
        if any(words in model for words in target.board)
        and 0.75 * (nominal := (target.memory_gb or 0) * 2**30) < memory_bytes <= nominal
    ]
    return next((target for target in found if target.power_mode == power_mode), found[0] if found else None)
