"""Volumes as a spec names them: `nifti:` and `dicom:`, a file, a folder, or a classes.yaml that tells more."""

from __future__ import annotations

from pathlib import Path

from jetseg.data.contract import VolumeScoring
from jetseg.data.files import place_of, plain, require_folder, require_split
from jetseg.data.volumes.config import ALL, CLASSES_FILE, TRAIN, VolumeEntry, read_config
from jetseg.data.volumes.labels import Labels, VolumeCode
from jetseg.data.volumes.nifti_file import is_nifti, stem_of
from jetseg.data.volumes.split import Part, VolumeSplit
from jetseg.errors import DataError


class Nifti:
    """NIfTI files; see `jetseg.data.contract.DatasetKind`."""

    form = "nifti:FILE.nii.gz, nifti:DIR or nifti:FILE.yaml"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> VolumeSplit:
        """Opens a split of the volumes that classes.yaml names, or "all" slices of files without labels.

        Raises:
            ConfigError: classes.yaml is missing or wrong.
            DataError: A file or the split is missing, or a file is damaged.
        """
        given = place_of(spec, place)
        if (config := _config_of(given)) is not None:
            return _open(spec, config, split)
        if is_nifti(given):
            return _unlabelled(spec, [given], split)
        files = [path for path in sorted(require_folder(given, "NIfTI files").iterdir()) if is_nifti(path)]
        if not files:
            raise DataError(f"{given} holds no NIfTI files and no {CLASSES_FILE}.", "Check the path in the spec.")
        return _unlabelled(spec, files, split)


class Dicom:
    """DICOM series; see `jetseg.data.contract.DatasetKind`."""

    form = "dicom:DIR or dicom:FILE.yaml"

    @staticmethod
    def open_split(spec: str, place: str, split: str) -> VolumeSplit:
        """Opens a split of the volumes that classes.yaml names, or "all" slices of one series; see `Nifti`."""
        given = place_of(spec, place)
        if (config := _config_of(given)) is not None:
            return _open(spec, config, split)
        return _unlabelled(spec, [require_folder(given, "the DICOM files of one series")], split)


def _config_of(given: Path) -> Path | None:
    if given.suffix.lower() in {".yaml", ".yml"}:
        return given
    return given / CLASSES_FILE if (given / CLASSES_FILE).is_file() else None


def _unlabelled(spec: str, files: list[Path], split: str) -> VolumeSplit:
    require_split(split, [ALL], files[0].parent if len(files) > 1 else files[0])
    return VolumeSplit(spec, split, VolumeCode(()), [Part(stem_of(path.resolve()), path) for path in files])


def _open(spec: str, path: Path, split: str) -> VolumeSplit:
    config = read_config(path)
    root = path.parent / Path(config.root or "").expanduser()
    known = {TRAIN: None, ALL: None} | {
        plain(name): None for entry in config.volumes for name in (entry.split or TRAIN, *entry.slices)
    }
    require_split(split, list(known), path)
    parts = [part for entry in config.volumes if (part := _part_of(entry, root, plain(split))) is not None]
    if not parts:
        raise DataError(f"{path} has no volume in split {split!r}.", "Choose another split, or give it a volume.")
    return VolumeSplit(
        spec,
        split,
        VolumeCode(config.classes, config.ignore_index, config.label_values, config.other_values),
        parts,
        window=config.frames,
        slices=config.slices,
        palette=config.palette,
        scoring=VolumeScoring(config.tolerance_mm, config.lesions),
    )


def _part_of(entry: VolumeEntry, root: Path, split: str) -> Part | None:
    """Returns what a split has of a volume."""
    image = root / entry.image
    name = stem_of(Path(entry.image)) if len(Path(entry.image).parts) == 1 else _flat(entry.image)
    labels = _labels_of(entry, root)
    if split == ALL:
        return Part(name, image, labels)
    held = {plain(key): ranges for key, ranges in entry.slices.items()}
    if held:
        if split == TRAIN:
            return Part(name, image, labels, but=tuple(part for ranges in held.values() for part in ranges))
        return Part(name, image, labels, ranges=tuple(sorted(held[split]))) if split in held else None
    return Part(name, image, labels) if plain(entry.split or TRAIN) == split else None


def _flat(image: str) -> str:
    path = Path(image)
    return "_".join((*path.parts[:-1], stem_of(path)))


def _labels_of(entry: VolumeEntry, root: Path) -> Labels | None:
    if isinstance(entry.labels, dict):
        return {name: root / path for name, path in entry.labels.items()}
    return None if entry.labels is None else root / entry.labels
