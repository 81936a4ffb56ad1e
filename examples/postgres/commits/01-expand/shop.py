#!/usr/bin/env python3
# Copyright (c) Penstock contributors
# SPDX-License-Identifier: MPL-2.0
"""A shop that keeps its orders in PostgreSQL. It asks psql, so that it needs no driver.

    GET  /healthz     asks the database, too
    GET  /orders      the orders
    POST /orders      takes one: {"customer": …, "email": …, "product": …}
"""

import argparse
import json
import os
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ORDERS = "SELECT id, customer, email, product, greeting FROM orders"
ORDER = "INSERT INTO orders (customer, email, product) VALUES (:'customer', :'email', :'product')"


def query(statement, **values):
    """Runs a statement with values, and returns what it says, one JSON document a line."""
    settings = [f"--set={name}={value}" for name, value in values.items()]
    done = subprocess.run(
        ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", *settings, os.environ["DATABASE_URL"]],
        input=statement, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.splitlines()]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/healthz":
            self.respond(lambda: query("SELECT to_json(1)"))
        elif self.path == "/orders":
            self.respond(lambda: query(f"SELECT row_to_json(o) FROM ({ORDERS} ORDER BY id) o"))
        else:
            self.answer(404, {"error": "not found"})

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.respond(lambda: query(ORDER, **order))

    def respond(self, work):
        try:
            self.answer(200, work())
        except (RuntimeError, TypeError) as err:
            print(err, flush=True)
            self.answer(500, {"error": str(err)})

    def answer(self, status, value):
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close waits for the requests that are under way


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    server = Server((os.environ.get("HOST", "127.0.0.1"), parser.parse_args().port), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
