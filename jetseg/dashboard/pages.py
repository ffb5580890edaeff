"""The pages of a run: the dashboard, and the metrics for Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from jetseg.dashboard.app import dashboard_app, metrics_app
from jetseg.dashboard.live import ShownCamera
from jetseg.dashboard.server import PageServer
from jetseg.manifest import Manifest
from jetseg.monitor.events import EventLog
from jetseg.monitor.metrics import Metrics
from jetseg.monitor.observer import Observer

_LOG = logging.getLogger(__name__)


class Dashboard:
    """Shows runs to browsers; its port is bound at once, and it answers between `with serve()` and its end.

    Args:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        manifest: The network's manifest.
        events: Of the run.
        titles: For each camera what is named at the top: engine and source. A run of one camera has one without a name.
        alpha: Weight of the class colors.

    Attributes:
        cameras: What is shown of each.
        server: What serves it.

    Raises:
        MissingDependencyError: uvicorn or Starlette is not installed.
        ConfigError: The address cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        manifest: Manifest,
        events: EventLog,
        titles: Mapping[str, Mapping[str, str]],
        alpha: float = 0.5,
    ) -> None:
        self.cameras = {name: ShownCamera(manifest, events, title, alpha) for name, title in titles.items()}
        app = dashboard_app(self.cameras, host, events)
        self.server = PageServer(app, host, port, setting="dashboard", events=events)

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Answers while the block runs."""
        with self.server:
            _LOG.info("Dashboard: %s", self.server.url)
            yield

    def close(self) -> None:
        """Frees the port."""
        self.server.close()


@dataclass(frozen=True)
class MeteredCamera:
    """A follower that gives the figures of one camera's run to Prometheus."""

    metrics: Metrics
    name: str = ""

    @contextmanager
    def follow(self, observer: Observer) -> Iterator[None]:
        """Gives the figures of the run that `observer` looks at."""
        self.metrics.show(observer, self.name)
        yield


class MetricsPage:
    """Serves `/metrics`; see `Dashboard`."""

    def __init__(self, host: str, port: int, events: EventLog) -> None:
        self.metrics = Metrics(events)
        self.server = PageServer(metrics_app(self.metrics, host, events), host, port, setting="metrics", events=events)

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Answers while the block runs."""
        with self.server:
            _LOG.info("Metrics: %smetrics", self.server.url)
            yield

    def close(self) -> None:
        """Frees the port."""
        self.server.close()
