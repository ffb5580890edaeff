"""Checks of the machine itself: board, system, container, power, memory, disk, cameras."""

from __future__ import annotations

import platform
import re

from jetseg.doctor.finding import Finding
from jetseg.doctor.host import Host
from jetseg.targets import recognize_target

MODEL = "/proc/device-tree/model"
TEGRA_RELEASE = "/etc/nv_tegra_release"
_JETPACK_OF_L4T = {35: "5", 36: "6", 38: "7"}
_OLDEST_L4T = 36
_LITTLE_MEMORY = 2e9
_LITTLE_DISK = 2e9
_NOT_A_JETSON = "Nothing to do here; it matters on the vehicle."


def is_jetson(host: Host) -> bool:
    """Tells whether the machine is a Jetson, also from inside a container."""
    model = host.text(MODEL) or ""
    return host.has(TEGRA_RELEASE) or any(word in model.lower() for word in ("jetson", "tegra", "orin", "thor"))


def check_board(host: Host) -> Finding:
    """Names the board."""
    model = host.text(MODEL)
    if is_jetson(host):
        target = recognize_target(model or "", _memory_bytes(host)["MemTotal"], _power_mode(host))
        profile = f", target {target.name}" if target else ""
        return Finding("board", "ok", f"{model or 'a Jetson that does not tell its model'}{profile}")
    return Finding(
        "board",
        "missing",
        f"no Jetson: {model or platform.machine()}",
        "Prepare networks here; build TensorRT engines on the vehicle itself.",
    )


def check_system(host: Host) -> Finding:
    """Names the releases of Jetson Linux (L4T) and JetPack."""
    name = "L4T and JetPack"
    release = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", host.text(TEGRA_RELEASE) or "")
    if release is None:
        if is_jetson(host):
            return Finding(
                name,
                "missing",
                f"{TEGRA_RELEASE} is absent",
                "In a container, mount it; else flash JetPack 6 or newer.",
            )
        return Finding(name, "missing", "not a Jetson", _NOT_A_JETSON)
    major = int(release[1])
    jetpack = host.output("dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack") or _JETPACK_OF_L4T.get(major)
    found = f"L4T {release[1]}.{release[2]}, JetPack {jetpack or 'unknown'}"
    if major < _OLDEST_L4T:
        return Finding(name, "warning", found, "Its TensorRT is older than 10.3; flash JetPack 6 or newer.")
    return Finding(name, "ok", found)


def check_container(host: Host) -> Finding:
    """Tells whether this runs in a container."""
    groups = host.text("/proc/1/cgroup") or ""
    marks = host.has("/.dockerenv") or host.has("/run/.containerenv")
    if marks or any(word in groups for word in ("docker", "containerd", "kubepods", "libpod")):
        return Finding("container", "ok", "inside a container: a device is seen only if it was passed in")
    return Finding("container", "ok", "no container")


def check_power_mode(host: Host) -> Finding:
    """Names the power mode (nvpmodel)."""
    name = "power mode"
    if not is_jetson(host):
        return Finding(name, "missing", "no nvpmodel: not a Jetson", _NOT_A_JETSON)
    mode = _power_mode(host)
    if mode is None:
        return Finding(name, "missing", "nvpmodel does not answer", "Run `sudo nvpmodel -q` outside the container.")
    if "MAXN" in mode:
        return Finding(name, "ok", mode)
    return Finding(
        name, "warning", mode, "Engines are slower in it; list the modes with `nvpmodel -p --verbose`, set with -m."
    )


def _power_mode(host: Host) -> str | None:
    mode = re.search(r"NV Power Mode:\s*(\S+)", host.output("nvpmodel", "-q") or "")
    return mode[1] if mode else None


def check_clocks(host: Host) -> Finding:
    """Tells whether the processor's clocks are held at their maximum, without which figures of speed wander."""
    name = "clocks"
    policies = host.paths("/sys/devices/system/cpu/cpufreq/policy*")
    if not policies:
        return Finding(name, "missing", "the system does not tell them", "Nothing to do; compare speeds as ratios.")
    loose = [policy for policy in policies if _lowest(host, policy) != host.text(f"{policy}/scaling_max_freq")]
    if not loose:
        return Finding(name, "ok", f"fixed at the maximum ({len(policies)} groups of cores)")
    step = "Run `sudo jetson_clocks` before measuring." if is_jetson(host) else "Compare speeds as ratios."
    return Finding(name, "warning", f"{len(loose)} of {len(policies)} groups of cores change their clock", step)


def check_memory(host: Host) -> Finding:
    """Tells how much memory is left; on a Jetson the GPU shares it."""
    found = _memory_bytes(host)
    if not found["MemTotal"]:
        return Finding("memory", "missing", "the system does not tell it", "Look with `free -h`.")
    free = found["MemAvailable"]
    text = f"{free / 1e9:.1f} GB free of {found['MemTotal'] / 1e9:.1f} GB"
    if free < _LITTLE_MEMORY:
        return Finding("memory", "warning", text, "Close other programs (the desktop too) before building an engine.")
    return Finding("memory", "ok", text)


def check_disk(host: Host) -> Finding:
    """Tells how much disk is left for engines."""
    free = host.free_bytes(host.folder)
    text = f"{free / 1e9:.1f} GB free in {host.folder.resolve()}"
    if free < _LITTLE_DISK:
        return Finding("disk", "warning", text, "Free some space; engines, caches and kits need a few hundred MB.")
    return Finding("disk", "ok", text)


def check_cameras(host: Host) -> Finding:
    """Lists V4L2 cameras, and tells whether the service for CSI cameras is there."""
    nodes = host.paths("/sys/class/video4linux/video*")
    names = [f"/dev/{node.rsplit('/', 1)[-1]} {host.text(f'{node}/name') or ''}".strip() for node in nodes]
    if host.has("/tmp/argus_socket"):
        names.append("CSI camera service")
    if names:
        return Finding("cameras", "ok", ", ".join(names))
    return Finding(
        "cameras",
        "missing",
        "none",
        "Plug one in; in a container pass --device /dev/video0, and mount /tmp/argus_socket for CSI.",
    )


def _memory_bytes(host: Host) -> dict[str, int]:
    """Returns total and available memory, 0 where the system does not tell."""
    found = dict(re.findall(r"(\w+):\s+(\d+) kB", host.text("/proc/meminfo") or ""))
    return {key: 1024 * int(found.get(key, 0)) for key in ("MemTotal", "MemAvailable")}


def _lowest(host: Host, policy: str) -> str | None:
    """Returns the lowest clock that a group of cores may take."""
    if host.text(f"{policy}/scaling_governor") == "performance":
        return host.text(f"{policy}/scaling_max_freq")
    return host.text(f"{policy}/scaling_min_freq")
