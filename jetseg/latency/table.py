"""Latency tables: what the operators of some networks took on a device, in a file that travels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from jetseg.config import Record, changed, explain
from jetseg.errors import ArtifactError, ConfigError
from jetseg.latency.unit import Unit, parse_unit
from jetseg.manifest import Precision
from jetseg.storage import write_json
from jetseg.targets import find_target
from jetseg.text_data import TextDataError, read_data

_MEASURE = "Measure it again with `jetseg measure-layers`."
_Ms = Annotated[float, Field(gt=0, lt=1e7)]


class MeasuredNetwork(Record):
    """A network that was measured, with its operators.

    Attributes:
        name: Where it is from; for people.
        ms: Its fastest run as a whole.
        steps: Its operators in order of execution, each as PLACE:MS, the place in the table's list and its fastest run.
    """

    name: str
    ms: _Ms
    steps: tuple[Annotated[str, Field(pattern=r"^\d{1,9}:\d{1,7}(\.\d+)?$")], ...]

    def parsed(self) -> Iterator[tuple[int, float]]:
        """Yields place and milliseconds of each operator."""
        for step in self.steps:
            place, _, ms = step.partition(":")
            yield int(place), float(ms)


class LatencyTable(Record):
    """What operators take on one device, in one power mode, in one version of one backend.

    Attributes:
        format: 1.
        device: Name of the processor or board.
        target: Its name in `jetseg.targets`; None for a machine without a profile there.
        power_mode: As nvpmodel names it; None where there is none.
        backend: A name of `jetseg.registry.BACKENDS`.
        version: Of the backend's library.
        precision: Precision of the engines that were measured.
        threads: Threads of a CPU backend.
        units: Operators as `jetseg.latency.unit` writes them, each once.
        networks: The networks that they were measured in.
    """

    format: Literal[1] = 1
    device: str
    target: str | None = None
    power_mode: str | None = None
    backend: str
    version: str
    precision: Precision
    threads: int = Field(1, ge=1)
    units: tuple[str, ...]
    networks: tuple[MeasuredNetwork, ...]

    @model_validator(mode="after")
    def _consistent(self) -> LatencyTable:
        for network in self.networks:
            if max((place for place, _ in network.parsed()), default=-1) >= len(self.units):
                raise ValueError(f"{network.name} names operators that the table lacks")
        _ = self.parsed  # each must be readable
        return self

    @property
    def title(self) -> str:
        """Device, backend and precision, as figures are quoted with them."""
        mode = f", {self.power_mode}" if self.power_mode else ""
        return f"{self.device}{mode}, {self.backend} {self.version}, {self.precision}, {self.threads} thread(s)"

    @cached_property
    def parsed(self) -> tuple[Unit, ...]:
        """The operators."""
        return tuple(map(parse_unit, self.units))

    def steps(self, network: MeasuredNetwork) -> Iterator[tuple[Unit, float]]:
        """Yields the operators of a network, and how many milliseconds each took."""
        for place, ms in network.parsed():
            yield self.parsed[place], ms


class TableDraft:
    """A table that grows.

    Args:
        table: What was measured before; its networks are kept.
    """

    def __init__(self, table: LatencyTable) -> None:
        self._table = table
        self._networks = {network.name: network for network in table.networks}
        self._places = {unit: place for place, unit in enumerate(table.units)}

    def __contains__(self, name: str) -> bool:
        """Tells whether a network was measured already."""
        return name in self._networks

    def add(self, name: str, ms: float, steps: Sequence[tuple[Unit, float]]) -> None:
        """Adds a network.

        Args:
            name: Its name in the table.
            ms: Its fastest run as a whole.
            steps: Its operators in order of execution, and milliseconds of each.
        """
        written = tuple(f"{self._places.setdefault(str(unit), len(self._places))}:{spent:.4f}" for unit, spent in steps)
        self._networks[name] = MeasuredNetwork(name=name, ms=round(ms, 4), steps=written)

    def table(self) -> LatencyTable:
        """Returns the table with all that was added."""
        return changed(self._table, units=tuple(self._places), networks=tuple(self._networks.values()))


class WantedDevice(Record):
    """What a table is asked to be of; what is None may be anything.

    Attributes:
        target: A name of `jetseg.targets.TARGETS`: it fixes the device, its power mode and the versions of TensorRT.
        device: Name of the processor or board.
        power_mode: As nvpmodel names it.
        backend: A name of `jetseg.registry.BACKENDS`.
        version: Of the backend's library.
        precision: Precision of the engines.
        threads: Threads of a CPU backend.
    """

    target: str | None = None
    device: str | None = None
    power_mode: str | None = None
    backend: str | None = None
    version: str | None = None
    precision: Precision | None = None
    threads: int | None = None


def read_table(path: Path) -> LatencyTable:
    """Reads a table.

    Raises:
        ArtifactError: The file is damaged, or no table.
    """
    try:
        return LatencyTable.model_validate(read_data(path))
    except FileNotFoundError:
        raise ArtifactError(f"There is no file {path}.", "`jetseg measure-layers` writes a latency table.") from None
    except (OSError, TextDataError) as error:
        raise ArtifactError(f"{path} is no latency table: {error}.", _MEASURE) from error
    except ValidationError as error:
        raise ArtifactError(f"{path} is no latency table:\n{explain(error)}", _MEASURE) from error


def write_table(path: Path, table: LatencyTable) -> None:
    """Writes a table."""
    write_json(path, table.model_dump(mode="json"))


def check_table(table: LatencyTable, wanted: WantedDevice) -> None:
    """Refuses a table of another device.

    Raises:
        ConfigError: Device, power mode, backend, version, precision or threads differ; all are named together.
    """
    differing = [
        f"  {name.replace('_', ' ')}: {has} in the table, {asked} asked for"
        for name, asked, has in _asked(table, wanted)
        if asked is not None and str(has) != str(asked)
    ]
    if differing:
        raise ConfigError(
            "The latency table is of something else:\n" + "\n".join(differing),
            "Ask for what it is of, or measure a table there with `jetseg measure-layers`.",
        )


def _asked(table: LatencyTable, wanted: WantedDevice) -> Iterator[tuple[str, object, object]]:
    """Yields what is asked for by name, what exactly, and what the table is of."""
    yield "target", wanted.target, table.target
    for name in ("device", "power_mode", "backend", "version", "precision", "threads"):
        yield name, getattr(wanted, name), getattr(table, name)
    target = find_target(wanted.target) if wanted.target else None
    if target is None or not target.software:
        return
    yield "power mode", target.power_mode, table.power_mode
    versions = [software.tensorrt for software in target.software]
    if table.backend == "tensorrt" and not any(f"{table.version}.".startswith(f"{known}.") for known in versions):
        yield "TensorRT version", " or ".join(versions), table.version
