"""Predicts from a table of measured operators: boosted trees for operators, a conformal interval for networks.

An operator's latency is a line in its work (Williams et al., Roofline, 2009), times what trees have learned of its
shape. A network's is the sum. How far that is off is seen on the table's own networks, each predicted by models that
did not learn from it, and gives the interval (conformal prediction: Vovk et al., 2005; normalized by the expected
error: Papadopoulos et al., 2008).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jetseg.errors import ConfigError, MissingDependencyError
from jetseg.latency.estimate import LatencyEstimate
from jetseg.latency.features import features, work
from jetseg.latency.layers import LayerUnits
from jetseg.latency.table import LatencyTable
from jetseg.latency.unit import Unit
from jetseg.onnx.layer_shape import Piece

try:
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.linear_model import LinearRegression
except ImportError as error:  # pragma: no cover - depends on the machine
    raise MissingDependencyError("scikit-learn", "predict", "predicts latencies from a table") from error

COVERAGE = 0.9
"""How many networks lie within their interval."""
LEAST_NETWORKS = 12
_FOLDS = 6
_TREES = {"n_estimators": 200, "learning_rate": 0.08, "max_depth": 4, "subsample": 0.7, "max_features": 0.4}
_LEAST_ROWS = 8
"""Operators of a kind that are learned from; rarer kinds are all learned together."""
_MOST_ROWS_OF_ALL = 1500
"""Operators of all kinds that the model for rare kinds learns from."""
_LEAST_MS = 1e-3
"""The runtimes' clocks tell no less."""
_LEAST_ERROR = 0.02
"""What two measurements of the same network differ by."""
_UNSEEN_ERROR = 1.0
"""Error of the logarithm of an operator of which the table has none."""

Step = tuple[Unit, float]


class TablePredictor:
    """A `jetseg.latency.estimate.LatencyModel` learned from a table.

    Args:
        table: Measured operators and networks.

    Raises:
        ConfigError: The table has too few networks.
        MissingDependencyError: scikit-learn is not installed.
    """

    def __init__(self, table: LatencyTable) -> None:
        networks = [_without_waiting(list(table.steps(network)), network.ms) for network in table.networks]
        if len(networks) < LEAST_NETWORKS:
            raise ConfigError(
                f"The latency table has {len(networks)} networks; {LEAST_NETWORKS} are the least to learn from.",
                "Measure more with `jetseg measure-layers --sweep`, which goes on where it stopped.",
            )
        self._title = table.title
        self._layers = LayerUnits([unit for network in table.networks for unit, _ in table.steps(network)])
        self.backend, self.precision = table.backend, table.precision
        measured = np.array([network.ms for network in table.networks])
        added, errors = _cross_predict(networks)
        self._errors = errors
        self._whole = float(np.median(measured / added))
        expected = np.array([_expected_error(steps, errors) for steps in networks])
        scores = np.abs(np.log(measured / (added * self._whole))) / expected
        self._reach = _conformal_quantile(scores)
        self._models = _Models([step for steps in networks for step in steps])

    def network(self, units: Sequence[Unit]) -> LatencyEstimate:
        """Predicts a whole network from its operators as the backend fuses them."""
        steps = list(zip(units, self._models.predict(units), strict=True))
        ms = self._whole * sum(spent for _, spent in steps)
        factor = math.exp(self._reach * _expected_error(steps, self._errors))
        unseen = sorted({unit.operator for unit in units} - self._errors.keys())
        return LatencyEstimate(
            latency_ms=ms,
            low=ms / factor,
            high=ms * factor,
            coverage=round(100 * COVERAGE),
            source="table",
            device=self._title,
            note=f"The table has no {', '.join(unseen)}." if unseen else "",
        )

    def layers_ms(self, pieces: Sequence[Piece]) -> list[float]:
        """Predicts layers that run one after the other; a `jetseg.onnx.layer_shape.TimeLayers`."""
        units = [self._layers.unit(layer) for piece in pieces for layer in piece]
        spent = iter(self.units_ms(units))
        return [sum(next(spent) for _ in piece) for piece in pieces]

    def units_ms(self, units: Sequence[Unit]) -> list[float]:
        """Predicts operators, each for itself, in milliseconds."""
        return [self._whole * spent for spent in self._models.predict(units)]


class _Models:
    """A model for each kind of operator, and one for all together.

    Args:
        steps: Operators, and how many milliseconds each took.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        by_kind: dict[str, list[Step]] = defaultdict(list)
        for step in steps:
            by_kind[step[0].operator].append(step)
        self._models = {kind: _KindModel(rows) for kind, rows in by_kind.items() if len(rows) >= _LEAST_ROWS}
        self._any = _KindModel(steps[:: 1 + len(steps) // _MOST_ROWS_OF_ALL])

    def predict(self, units: Sequence[Unit]) -> list[float]:
        """Returns milliseconds."""
        by_kind: dict[str, list[int]] = defaultdict(list)
        for place, unit in enumerate(units):
            by_kind[unit.operator].append(place)
        found = [0.0] * len(units)
        for kind, places in by_kind.items():
            model = self._models.get(kind, self._any)
            for place, ms in zip(places, model.predict([units[place] for place in places]), strict=True):
                found[place] = float(ms)
        return found


class _KindModel:
    """A line in the work of operators of one kind, and trees for the factor between it and the latency."""

    def __init__(self, steps: Sequence[Step]) -> None:
        units, spent = [unit for unit, _ in steps], np.array([max(_LEAST_MS, ms) for _, ms in steps])
        self._words = sorted({word for unit in units for word in unit.fused})
        works = np.array([work(unit) for unit in units])
        # relative errors count, so every row is divided by its latency
        line = LinearRegression(positive=True, fit_intercept=False)
        self._scale = np.maximum(works.max(axis=0), 1.0)
        line.fit(works / self._scale / spent[:, None], np.ones(len(spent)))
        self._slopes = line.coef_
        self._trees = GradientBoostingRegressor(**_TREES, random_state=0)
        self._trees.fit(self._seen(units), np.log(spent / self._line(units)))

    def predict(self, units: Sequence[Unit]) -> npt.NDArray[np.float64]:
        """Returns milliseconds."""
        factors: npt.NDArray[np.float64] = np.exp(self._trees.predict(self._seen(units)))
        return factors * self._line(units)

    def _line(self, units: Sequence[Unit]) -> npt.NDArray[np.float64]:
        works = np.array([work(unit) for unit in units])
        found: npt.NDArray[np.float64] = np.maximum(works / self._scale @ self._slopes, _LEAST_MS)
        return found

    def _seen(self, units: Sequence[Unit]) -> npt.NDArray[np.float64]:
        return np.array([features(unit, self._words) for unit in units])


def _without_waiting(steps: list[Step], ms: float) -> list[Step]:
    """Shortens steps that add up to more than the whole: other processes had the processor meanwhile."""
    factor = min(1.0, ms / max(sum(spent for _, spent in steps), _LEAST_MS))
    return [(unit, spent * factor) for unit, spent in steps]


def _cross_predict(networks: Sequence[Sequence[Step]]) -> tuple[npt.NDArray[np.float64], dict[str, float]]:
    """Predicts each network by models that did not learn from it.

    Returns:
        The sums of the predicted operators, and the error of the logarithm by kind of operator.
    """
    added = np.zeros(len(networks))
    errors: dict[str, list[float]] = defaultdict(list)
    for fold in range(_FOLDS):
        held = range(fold, len(networks), _FOLDS)
        models = _Models([step for place, steps in enumerate(networks) if place not in held for step in steps])
        rows = [(place, unit, spent) for place in held for unit, spent in networks[place]]
        for (place, unit, spent), ms in zip(rows, models.predict([unit for _, unit, _ in rows]), strict=True):
            added[place] += ms
            errors[unit.operator].append(math.log(max(spent, _LEAST_MS) / ms))
    return added, {kind: float(np.sqrt(np.mean(np.square(found)))) for kind, found in errors.items()}


def _expected_error(steps: Sequence[Step], errors: Mapping[str, float]) -> float:
    """Returns how far the logarithm of a sum is off, when different operators err apart and equal ones together."""
    shares: dict[Unit, float] = defaultdict(float)
    for unit, ms in steps:
        shares[unit] += ms
    total = max(sum(shares.values()), _LEAST_MS)
    squares = sum((share / total * errors.get(unit.operator, _UNSEEN_ERROR)) ** 2 for unit, share in shares.items())
    return math.sqrt(_LEAST_ERROR**2 + squares)


def _conformal_quantile(scores: npt.NDArray[np.float64]) -> float:
    """Returns the score that `COVERAGE` of new ones stay below.

    >>> _conformal_quantile(np.arange(1.0, 20.0))
    18.0
    """
    rank = min(len(scores), math.ceil((len(scores) + 1) * COVERAGE))
    return float(np.sort(scores)[rank - 1])
