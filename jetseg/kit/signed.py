"""Opens networks that must be signed: engines of a release by its kit, others by a signature of their manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jetseg.errors import ArtifactError
from jetseg.kit.releases import is_release, open_release
from jetseg.kit.signature import check_signature, copy_signed
from jetseg.manifest_file import manifest_path
from jetseg.network import Network, open_network
from jetseg.quantization.ranges import Ranges, open_ranges
from jetseg.shipped import find_artifact
from jetseg.storage import scratch_folder


def signed_part(file: Path) -> Path:
    """Returns what is signed of a file: the manifest of a network, which holds the network's hash, or the file itself.

    Raises:
        ArtifactError: The manifest says no hash, so that its signature would say nothing of the network.
    """
    if not manifest_path(file).is_file():
        return file
    if open_network(file).manifest.sha256 is None:
        raise ArtifactError(f"{manifest_path(file)} says no SHA-256 of {file.name}.", "Export or build it anew.")
    return manifest_path(file)


def open_signed_ranges(file: Path, network: Network, key: Path) -> Ranges:
    """Opens the ranges of a network if they are signed with a key; what was checked is what is read.

    Corrected networks stay beside the file; it holds their hashes.

    Raises:
        ArtifactError: They are not signed with the key.
        CalibrationError: They were made for another network.
    """
    with scratch_folder("jetseg-signed-") as scratch:
        copy = copy_signed(file, scratch)
        check_signature(copy, key, shown=file)
        ranges = open_ranges(copy, network)
    return replace(ranges, path=file)


def open_driven(path: Path | str, manifest: Path | str | None = None, key: Path | None = None) -> Network:
    """Opens a network to drive with: a release, or a file; with a key only what is signed.

    Args:
        path: File, or a release or a link to one.
        manifest: A manifest elsewhere than beside the file.
        key: Public key that the release's kit, or the manifest, must be signed with.

    Raises:
        ArtifactError: It is damaged, or is not signed with the key.
    """
    if is_release(Path(path)):
        return open_release(Path(path), key)
    found = find_artifact(Path(path))
    if key is None or not found.is_file():
        return open_network(path, manifest)
    place = Path(manifest) if manifest else manifest_path(found)
    with scratch_folder("jetseg-signed-") as scratch:  # what was checked is what is read
        copy = copy_signed(place, scratch)
        check_signature(copy, key, shown=place)
        network = open_network(found, copy)
    if network.manifest.sha256 is None:
        raise ArtifactError(f"{place} is signed, and says no SHA-256 of {path}.", "Export or build it anew.")
    return network
