"""Kits of the small network, and keys in minisign's format."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_network import write_dataset, write_small_network

from jetseg.workflows.calibration import calibrate
from jetseg.workflows.kits import pack

WIDE = {"min_agreement": 90, "max_drop": 10, "max_class_drop": 20}
"""What 8 bits cost a network of random weights."""


def make_keys(folder: Path, name: str = "fleet", password: str | None = None) -> tuple[Path, Path]:
    """Writes a pair of keys; returns the private and the public one."""
    import minisign

    pair = minisign.KeyPair.generate()
    public, secret = folder / f"{name}.pub", folder / f"{name}.key"
    public.write_bytes(bytes(pair.public_key) + b"\n")
    if password is not None:
        pair.secret_key.encrypt(password)
    secret.write_bytes(bytes(pair.secret_key) + b"\n")
    return secret, public


def make_kit(folder: Path, *, seed: int = 0, ranges: bool = True, frames: int = 2) -> Path:
    """Packs the small network with drawn frames; returns the kit."""
    model, data = write_small_network(folder, seed), write_dataset(folder / "data", frames=4)
    known = calibrate(model, data=data, split="all", out=folder / "r.json") if ranges else None
    return pack(model, data=data, split="all", ranges=known, frames=frames, out=folder / "small.kit.zip", **WIDE).kit


def read_kit(kit: Path) -> dict[str, bytes]:
    """Returns the files of a kit."""
    with zipfile.ZipFile(kit) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite_kit(
    kit: Path, out: Path, files: dict[str, bytes], edit: Callable[[dict[str, Any]], None] = lambda index: None
) -> Path:
    """Packs a kit anew with other files and an edited index, the hashes and sizes in it made right."""
    content = read_kit(kit) | files
    index = json.loads(content.pop("kit.json"))
    index["members"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)} for name, data in content.items()
    }
    edit(index)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {"kit.json": json.dumps(index).encode(), **content}.items():
            archive.writestr(name, data)
    return out
