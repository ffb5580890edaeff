"""What each task of a network may lose, metric by metric, in points or in percent of what it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jetseg.errors import ConfigError
from jetseg.evaluation.tasks import Figures
from jetseg.output_spec import OutputSpec

METRICS = {"segmentation": ("miou",), "binary": ("iou", "miou"), "depth": ("rmse", "abs_rel", "delta1")}
"""What each kind of task is measured by; the first counts where nothing else is asked for."""
_LOWER_IS_BETTER = frozenset({"rmse", "abs_rel"})
_USUAL_DEPTH_DROP = "2%"


def budgets_of(
    outputs: Sequence[OutputSpec], asked: Mapping[str, str], points: float
) -> dict[tuple[str, str], tuple[float, bool]]:
    """Returns what each task may lose: what was asked for, or what its manifest says, or what is usual.

    Args:
        outputs: The network's.
        asked: By TASK_METRIC, as in {"depth_rmse": "2%", "drivable_iou": "0.5"}.
        points: Points of IoU or mIoU that a task may lose about which nothing is said.

    Returns:
        By task and metric, the most that may be lost, and whether that is a fraction of what it was.

    Raises:
        ConfigError: There is no such task or metric, or an amount is no number.

    >>> depth = OutputSpec(name="depth", task="depth")
    >>> budgets_of([depth], {"depth_rmse": "2%"}, 0.5)
    {('depth', 'rmse'): (0.02, True)}
    """
    known = {f"{output.label}_{metric}" for output in outputs for metric in METRICS[output.task]}
    for name in asked:
        if name not in known:
            raise ConfigError(
                f"{name} is no metric of a task of the network.", f"They are: {', '.join(sorted(known))}."
            )
    found: dict[tuple[str, str], tuple[float, bool]] = {}
    for output in outputs:
        usual = {METRICS[output.task][0]: _USUAL_DEPTH_DROP if output.task == "depth" else str(points)}
        names = {metric: f"{output.label}_{metric}" for metric in METRICS[output.task]}
        own = {metric: asked[name] for metric, name in names.items() if name in asked}
        for metric, amount in {**usual, **output.budget, **own}.items():
            if metric not in METRICS[output.task]:
                raise ConfigError(f"The manifest has a budget for {metric} of {output.label}, which is not measured.")
            found[output.label, metric] = _amount(f"{output.label}_{metric}", amount)
    return found


def task_violations(
    budgets: Mapping[tuple[str, str], tuple[float, bool]],
    before: Mapping[str, Figures],
    after: Mapping[str, Figures],
) -> tuple[str, ...]:
    """Returns what was lost beyond the budget, as sentences, the worst first.

    >>> budgets_ = {("depth", "rmse"): (0.02, True)}
    >>> task_violations(budgets_, {"depth": {"rmse": 4.0}}, {"depth": {"rmse": 4.2}})
    ('rmse of depth rose from 4.00 to 4.20 (+5.0 %, allowed +2.0 %)',)
    """
    found = []
    for (task, metric), (allowed, is_share) in budgets.items():
        old, new = before.get(task, {}).get(metric), after.get(task, {}).get(metric)
        if old is None or new is None:
            continue
        lost = lost_of(metric, old, new, is_share=is_share)
        if lost <= allowed:
            continue
        sign, way = ("+", "rose") if metric in _LOWER_IS_BETTER else ("-", "fell")
        amounts = (
            f"{sign}{100 * lost:.1f} %, allowed {sign}{100 * allowed:.1f} %"
            if is_share
            else (f"{sign}{lost:.2f}, allowed {sign}{allowed:.2f}")
        )
        found.append((lost / max(allowed, 1e-9), f"{metric} of {task} {way} from {old:.2f} to {new:.2f} ({amounts})"))
    return tuple(sentence for _, sentence in sorted(found, reverse=True))


def lost_of(metric: str, before: float, after: float, *, is_share: bool = False) -> float:
    """Returns by how much a metric got worse; negative where it got better.

    >>> lost_of("rmse", 4.0, 5.0), lost_of("miou", 60.0, 59.0), lost_of("rmse", 4.0, 5.0, is_share=True)
    (1.0, 1.0, 0.25)
    """
    lost = after - before if metric in _LOWER_IS_BETTER else before - after
    return lost / abs(before) if is_share and before else lost


def _amount(name: str, text: str) -> tuple[float, bool]:
    is_share = text.strip().endswith("%")
    try:
        value = float(text.strip().rstrip("% "))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ConfigError(f"max_drop {name}: {text!r} is no amount.", "Write points, as in 0.5, or a share, as in 2%.")
    return (value / 100 if is_share else value), is_share
