"""`jetseg health` says whether the loop itself still gets frames."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from small_network import write_small_network

from jetseg.monitor.health import check_health
from jetseg.workflows.driving import open_drive


@pytest.fixture
def page():
    """Serves what `text` holds as metrics; gives the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.text.encode())

        def log_message(self, *arguments):
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("# HELP x\njetseg_since_last_frame_seconds 0.25\n", 0, "0.2 seconds old"),
        ("jetseg_since_last_frame_seconds 12.5\n", 1, "12.5 seconds old, and 10 are allowed"),
        ("jetseg_since_last_frame_seconds NaN\n", 1, "nan seconds old"),
        ("jetseg_frames_total 0.0\n", 1, "has not had a frame yet"),
    ],
)
def test_the_age_of_the_last_frame_decides(page, jetseg, text, code, message, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    page.text = text
    found, out, err = jetseg("health", "--metrics", page.server_port)
    assert found == code
    assert message in " ".join((out + err).split())


def test_a_run_that_does_not_answer_is_not_healthy(jetseg, free_port):
    code, _, err = jetseg("health", "--metrics", free_port)
    assert code == 1
    assert f"No run answers at 127.0.0.1:{free_port}" in " ".join(err.split())


@pytest.mark.long
def test_it_reads_the_metrics_of_a_real_run(tmp_path, free_port):
    network = write_small_network(tmp_path)
    seen = []

    class Asking:
        wants_overlay = False

        def write(self, result):
            if not seen and result.statistics.seconds > 1.2:
                seen.append(check_health(free_port, 5.0))

    options = {"labels": False, "metrics": free_port, "seconds": 2.0, "threads": 1}
    with open_drive(network, source="synthetic", sinks=[Asking()], **options) as drive:
        drive.run()
    assert 0 <= seen[0] < 5


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
