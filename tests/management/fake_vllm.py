"""A program that takes vLLM's command line and answers its two readiness endpoints.

It says what it was given. The model named ``dies`` ends at once, ``refuses`` wants a key.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType

model = sys.argv[2]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401 if model == "refuses" else 200)
        self.end_headers()
        if self.path == "/v1/models":
            self.wfile.write(json.dumps({"data": [{"id": model}]}).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        pass


def bye(number: int, frame: FrameType | None) -> None:
    say(f"stopped by {signal.Signals(number).name}")
    os._exit(0)


def say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def main() -> None:
    say(f"arguments {sys.argv[1:]} key {os.environ.get('VLLM_API_KEY')}")
    if model == "dies":
        sys.exit(3)
    say("loading 50%", end="\r")
    say("loading 100%", end="\r\n")
    signal.signal(signal.SIGINT, bye)
    signal.signal(signal.SIGTERM, bye)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
