"""The applications that are served: the dashboard, and the metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

from jetseg.dashboard.guard import Guard
from jetseg.dashboard.live import LiveFigures, LiveView
from jetseg.errors import import_optional
from jetseg.monitor.events import EventLog
from jetseg.monitor.metrics import Metrics

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
}


def dashboard_app(view: LiveView, figures: LiveFigures, host: str, events: EventLog) -> ASGIApp:
    """Makes the dashboard's application.

    Args:
        view: Served as `/picture?other_than=SEQUENCE`: JPEG with the frame's number in `X-Sequence`, or
            204 if no other frame comes within two seconds, 400 if SEQUENCE is no number. The client asks again when
            it has drawn, so a slow one gets fewer and newer pictures and nothing piles up for it.
        figures: Served as `/state` and `/past`, JSON.
        host: Address that it is bound to.
        events: Gets "page-failed" when an answer fails.

    Raises:
        MissingDependencyError: Starlette is not installed.
    """
    responses = _starlette("responses")

    async def answer_picture(request: Request) -> Response:
        asked = request.query_params.get("other_than", "-1")
        if not _NUMBER.fullmatch(asked):
            return _response(responses, b"other_than takes the number of a picture.", "text/plain; charset=utf-8", 400)
        found = await view.other_than(int(asked))
        if found is None:
            return _response(responses, b"", "image/jpeg", 204)
        return _response(responses, found.jpeg, "image/jpeg", headers={"X-Sequence": str(found.sequence)})

    routes = {
        "/picture": answer_picture,
        "/state": _answer(responses, figures.present, "application/json"),
        "/past": _answer(responses, figures.past, "application/json"),
    }
    folder = resources.files("jetseg.dashboard") / "page"
    for path, (name, kind) in _PAGE.items():
        routes[path] = _answer(responses, partial(bytes, (folder / name).read_bytes()), kind)
    return Guard(_application(routes), host, events)


def metrics_app(metrics: Metrics, host: str, events: EventLog) -> ASGIApp:
    """Makes the application that serves `/metrics`.

    Raises:
        MissingDependencyError: Starlette is not installed.
    """
    responses = _starlette("responses")

    async def answer(_: Request) -> Response:
        content, kind = metrics.page()
        return _response(responses, content, kind)

    return Guard(_application({"/metrics": answer}), host, events)


def _application(routes: dict[str, Any]) -> ASGIApp:
    routing = _starlette("routing")
    listed = [routing.Route(path, answer, methods=["GET"]) for path, answer in routes.items()]
    app: ASGIApp = routing.Router(listed, redirect_slashes=False)  # a redirect would take the Host header apart
    return app


def _answer(responses: Any, content: Callable[[], bytes], kind: str) -> Any:  # noqa: ANN401 - Starlette is optional
    async def answer(_: Request) -> Response:
        return _response(responses, content(), kind)

    return answer


def _response(
    responses: Any,  # noqa: ANN401
    content: bytes,
    kind: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    response: Response = responses.Response(content, status, {"Content-Type": kind, **(headers or {})})
    return response


def _starlette(module: str) -> Any:  # noqa: ANN401 - Starlette is optional
    return import_optional(f"starlette.{module}", "starlette", "dashboard", "serves the dashboard and the metrics")
