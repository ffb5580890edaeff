"""The applications that are served: the dashboard, and the metrics."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from jetseg.dashboard.guard import Guard
from jetseg.dashboard.live import ShownCamera
from jetseg.errors import import_optional
from jetseg.monitor.events import EventLog
from jetseg.monitor.json_text import json_text
from jetseg.monitor.metrics import Metrics

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
}


def dashboard_app(cameras: Mapping[str, ShownCamera], host: str, events: EventLog) -> ASGIApp:
    """Makes the dashboard's application.

    Args:
        cameras: By name; each request is answered for `?camera=NAME`, by default for the first. Pictures are served as
            `/picture?other_than=SEQUENCE`: JPEG with the frame's number in `X-Sequence`, or
            204 if no other frame comes within two seconds, 400 if SEQUENCE is no number. The client asks again when
            it has drawn, so a slow one gets fewer and newer pictures and nothing piles up for it. Figures are served
            as `/state` and `/past`, and a line for each camera as `/cameras`: JSON.
        host: Address that it is bound to.
        events: Gets "page-failed" when an answer fails.

    Raises:
        MissingDependencyError: Starlette is not installed.
    """
    responses = _starlette("responses")

    def briefs() -> bytes:
        return json_text({name: camera.figures.brief() for name, camera in cameras.items()})

    routes = {
        "/picture": _answer_camera(responses, cameras, partial(_picture, responses)),
        "/state": _answer_camera(responses, cameras, partial(_figures, responses, "present")),
        "/past": _answer_camera(responses, cameras, partial(_figures, responses, "past")),
        "/cameras": _answer(responses, briefs, _JSON),
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


def _answer_camera(
    responses: Any,  # noqa: ANN401 - Starlette is optional
    cameras: Mapping[str, ShownCamera],
    answer: Callable[[ShownCamera, Mapping[str, str]], Awaitable[Response]],
) -> Any:  # noqa: ANN401
    """Makes the answer for the camera that is asked for, from it and what else was asked."""
    first = next(iter(cameras))

    async def answer_asked(request: Request) -> Response:
        camera = cameras.get(request.query_params.get("camera", first))
        if camera is None:
            return _response(responses, b"There is no such camera.", _TEXT, 404)
        return await answer(camera, request.query_params)

    return answer_asked


async def _picture(responses: Any, camera: ShownCamera, asked: Mapping[str, str]) -> Response:  # noqa: ANN401
    other_than = asked.get("other_than", "-1")
    if not _NUMBER.fullmatch(other_than):
        return _response(responses, b"other_than takes the number of a picture.", _TEXT, 400)
    found = await camera.view.other_than(int(other_than))
    if found is None:
        return _response(responses, b"", "image/jpeg", 204)
    return _response(responses, found.jpeg, "image/jpeg", headers={"X-Sequence": str(found.sequence)})


async def _figures(
    responses: Any,  # noqa: ANN401
    which: Literal["present", "past"],
    camera: ShownCamera,
    _: Mapping[str, str],
) -> Response:
    figures = camera.figures
    return _response(responses, figures.present() if which == "present" else figures.past(), _JSON)


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
