"""Searches for the best engine within a budget: begins, joins and goes on with a search, and tells what it found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jetseg
from jetseg.address import StorageAddress
from jetseg.config import changed, validate_config
from jetseg.data.dataset import open_dataset
from jetseg.errors import ConfigError
from jetseg.evaluation.tasks import refuse_several
from jetseg.network import Network, artifact_sha256
from jetseg.progress import ProgressCallback, report_progress
from jetseg.provenance import device_name
from jetseg.recipes.run import data_hash
from jetseg.registry import DATASETS
from jetseg.searching.best_recipe import write_best_recipe
from jetseg.searching.board import Board
from jetseg.searching.config import SearchConfig
from jetseg.searching.entries import Entry, Score
from jetseg.searching.facts import Facts, Identity
from jetseg.searching.findings import SearchResult, find
from jetseg.searching.measuring import GivenNetwork, chain_of, measure, must_prune
from jetseg.searching.optuna_library import open_storage
from jetseg.searching.proposals import chosen
from jetseg.searching.space import fixed_of, space_of
from jetseg.searching.studies import begin, check_same, only_search, read_facts, renew
from jetseg.searching.worker import work
from jetseg.storage import check_place
from jetseg.workflows.opening import as_network

if TYPE_CHECKING:
    from jetseg.data.dataset import Dataset

JOURNAL = "study.journal"
RECIPE = "best.yaml"
STAGES = "stages"


def search(
    checkpoint: Network | Path | str | None = None,
    *,
    data: Dataset | str | None = None,
    out: Path | str | None = None,
    storage: StorageAddress | str | None = None,
    join: StorageAddress | str | None = None,
    name: str | None = None,
    progress: ProgressCallback | None = None,
    **settings: Any,  # noqa: ANN401 - checked by the model
) -> SearchResult:
    """Searches for the chain whose engine is the best within a budget, and makes that engine.

    Called again with the same settings, it goes on where it was interrupted; where nothing is left to do, it tells the
    same result. Any number of workers may share a storage.

    Args:
        checkpoint: Network to compress, opened or by its path. One that joins may leave it out.
        data: Labelled frames, as a spec or opened. One that joins may leave them out.
        out: Folder of the results; by default runs/search-NAME.
        storage: Where the trials are kept: a file, by default study.journal in `out`, or postgresql://USER@HOST/NAME.
        join: In place of `storage`: that of a search that was begun elsewhere, whose settings hold.
        name: Name of the search in its storage; by default the network's.
        progress: Is told how the work goes on.
        settings: Fields of `jetseg.searching.config.SearchConfig`, as in `budget_ratio=0.5, minutes=30`.

    Returns:
        The best engine with the recipe that makes it, the front, and the reasons.

    Raises:
        ConfigError: Settings are wrong, or the storage holds a search with others.
        DeviceError: The storage cannot be reached.
        MissingDependencyError: Optuna or torch is not installed.
        JetsegError: The network or the data are wrong.
    """
    given = storage if join is None else join
    address = given if isinstance(given, StorageAddress) or given is None else StorageAddress.given(given)
    spec = data if data is None or isinstance(data, str) else data.spec
    with report_progress(progress):
        if join is None:
            return _begin_or_go_on(checkpoint, spec, out, address, name, settings)
        odd = sorted({*settings, *(["storage"] if storage is not None else [])} - {"teacher"})
        if odd:
            raise ConfigError(f"One that joins has the settings of the search: leave out {', '.join(odd)}.")
        return _join(checkpoint, spec, out, address, name, settings)


def _begin_or_go_on(
    checkpoint: Network | Path | str | None,
    data: str | None,
    out: Path | str | None,
    address: StorageAddress | None,
    name: str | None,
    settings: dict[str, Any],
) -> SearchResult:
    config = validate_config(SearchConfig, settings)
    if checkpoint is None or data is None:
        raise ConfigError("A search needs a network and data.", "Give `checkpoint` and `data`, or `join`.")
    network = as_network(checkpoint)
    folder = _checked_folder(network, out)
    name = name or network.name
    identity = _identity(network, data, config)
    with open_storage(address or StorageAddress(str(folder / JOURNAL)), make=True) as storage:
        known = read_facts(storage, name)
        if known is not None:
            check_same(known, identity)
        with GivenNetwork(network, data, config, folder / STAGES) as given:
            facts = known or begin(storage, name, _facts(identity, given))
            check_same(facts, identity)  # another worker may have begun it at the same moment
            if facts.config != config:
                facts = changed(facts, config=config)
                renew(storage, name, facts)
            board = Board(storage, name, space_of(config))
            board.fill(config.trials)
            return _work(board, facts, given, folder)


def _join(
    checkpoint: Network | Path | str | None,
    data: str | None,
    out: Path | str | None,
    address: StorageAddress | None,
    name: str | None,
    settings: dict[str, Any],
) -> SearchResult:
    with open_storage(address or StorageAddress(""), make=False) as storage:
        name = name or only_search(storage)
        facts = read_facts(storage, name)
        if facts is None:
            raise ConfigError(f"There is no search {name} in {storage.address}.", "Begin it first.")
        network = as_network(checkpoint or Path(facts.checkpoint))
        folder = _checked_folder(network, out)
        config = changed(facts.config, **settings)
        spec = data or _own_spec(facts.data)
        check_same(facts, _identity(network, spec, config))
        with GivenNetwork(network, spec, config, folder / STAGES) as given:
            return _work(Board(storage, name, space_of(config)), facts, given, folder)


def _checked_folder(network: Network, out: Path | str | None) -> Path:
    """Returns the folder of the results; refuses what would fail after long work."""
    folder = Path(out) if out else Path("runs") / f"search-{network.name}"
    check_place(folder / RECIPE)
    refuse_several(network.manifest, "The search")
    if network.manifest.kind != "checkpoint":
        raise ConfigError(
            f"{network.path} is no checkpoint, and only these can be trained.", "Give a .safetensors file."
        )
    return folder


def _own_spec(data: str) -> str:
    """Returns the data that a storage names: a place on this machine, of a kind that comes with jetseg."""
    kind, _, place = data.partition(":")
    if kind not in DATASETS.own or "://" in place:
        raise ConfigError(f"The search was begun on {kind} data.", "Give `data`: where they are on this machine.")
    return data


def _identity(network: Network, data: str, config: SearchConfig) -> Identity:
    """Describes a search as it would begin here."""
    return Identity(
        version=jetseg.__version__,
        config=config,
        space={name: str(choice) for name, choice in space_of(config).items()},
        checkpoint=str(network.path.resolve()),
        checkpoint_sha256=network.sha256,
        data=open_dataset(data).spec,
        data_sha256=data_hash(data),
        teacher_sha256=None if config.teacher is None else artifact_sha256(config.teacher),
        device=device_name(),
    )


def _facts(identity: Identity, given: GivenNetwork) -> Facts:
    """Adds what the first worker measures."""
    return Facts(
        **dict(identity),
        miou=given.miou(),
        latency_ms=given.latency_ms(),
        size_bytes=given.engine_path.stat().st_size,
    )


def _work(board: Board, facts: Facts, given: GivenNetwork, folder: Path) -> SearchResult:
    """Takes trials until none is left, then reads the result off them and writes the best one's recipe."""
    fixed = fixed_of(facts.config)

    def run(board: Board, entry: Entry) -> Score:
        chain = chain_of(chosen(entry, fixed), given, facts.budget_ms)
        if entry.prunes is None:
            board.note_prunes(entry, prunes=must_prune(chain, given, facts.latency_ms))
            entry = board.now(entry)
        return measure(chain, entry, given, facts.latency_ms)

    work(board, facts, run)
    entries = board.entries()
    result = find(entries, board.space, fixed, facts)
    if result.best is None:
        return result
    return replace(result, recipe=write_best_recipe(folder / RECIPE, result.best, entries, given, facts))
