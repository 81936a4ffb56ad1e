#!/usr/bin/env python3
# Copyright (c) Penstock contributors
# SPDX-License-Identifier: MPL-2.0
"""A shop that sells two things. It ends gently: what it has begun to answer, it answers."""

import argparse
import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRODUCTS = ["tea", "cup", "pot"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer({"status": "ok"})
        if self.path == "/products":
            time.sleep(0.02)  # so that there is always a request under way
            return self.answer({"greeting": os.environ.get("GREETING", "Hello"), "products": PRODUCTS})
        self.answer({"error": "not found"}, 404)

    def answer(self, value, status=200):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # the proxy has a log


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for the requests that are under way
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    server = Server(("127.0.0.1", parser.parse_args().port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
