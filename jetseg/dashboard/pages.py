"""The pages of a run: the dashboard, and the metrics for Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from jetseg.dashboard.app import dashboard_app, metrics_app
from jetseg.dashboard.live import LiveFigures, LiveView
from jetseg.dashboard.server import PageServer
from jetseg.manifest import Manifest
from jetseg.monitor.events import EventLog
from jetseg.monitor.metrics import Metrics
from jetseg.monitor.observer import Observer

_LOG = logging.getLogger(__name__)


class Dashboard:
    """Shows a run to browsers; its port is bound at once, and it answers while it follows a run.

    Args:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        manifest: The network's manifest.
        events: Of the run.
        title: Named at the top: engine and source.
        alpha: Weight of the class colors.

    Attributes:
        view: A sink, which shows it the frames.
        server: What serves it.

    Raises:
        MissingDependencyError: uvicorn or Starlette is not installed.
        ConfigError: The address cannot be bound.
    """

    def __init__(
        self, host: str, port: int, manifest: Manifest, events: EventLog, title: Mapping[str, str], alpha: float = 0.5
    ) -> None:
        self.view = LiveView(manifest, alpha)
        self._figures = LiveFigures(events, self.view, manifest, title)
        app = dashboard_app(self.view, self._figures, host, events)
        self.server = PageServer(app, host, port, setting="dashboard", events=events)

    @contextmanager
    def follow(self, observer: Observer) -> Iterator[None]:
        """Shows a run while the block runs."""
        self._figures.follow(observer)
        with self.server:
            _LOG.info("Dashboard: %s", self.server.url)
            yield

    def close(self) -> None:
        """Frees the port."""
        self.server.close()


class MetricsPage:
    """Serves `/metrics`; see `Dashboard`."""

    def __init__(self, host: str, port: int, events: EventLog) -> None:
        self._metrics = Metrics(events)
        self.server = PageServer(metrics_app(self._metrics, host, events), host, port, setting="metrics", events=events)

    @contextmanager
    def follow(self, observer: Observer) -> Iterator[None]:
        """Gives the figures of a run while the block runs."""
        self._metrics.observer = observer
        with self.server:
            _LOG.info("Metrics: %smetrics", self.server.url)
            yield

    def close(self) -> None:
        """Frees the port."""
        self.server.close()
