#!/usr/bin/env python3
# Copyright (c) Penstock contributors
# SPDX-License-Identifier: MPL-2.0
"""What a container service does, on one machine: instances of a release behind nginx.

    site.py up       starts the proxy
    site.py deploy   lets the release $NAME serve in place of the one that does
    site.py down     ends all, and removes $SITE

$SITE is the directory of the environment, $PROXY the program nginx. Each command can be
repeated, also after it was killed.
"""

import getpass
import grp
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request

SITE = pathlib.Path(os.environ["SITE"])
NGINX = os.environ["PROXY"]  # not $NGINX: nginx itself would take that for its own
RELEASES = SITE / "releases"
PATIENCE = 120  # seconds, for anything that is waited for

CONFIGURATION = """\
{user}pid {site}/nginx.pid;
error_log {site}/logs/error.log;
worker_processes 2;
worker_shutdown_timeout 60s;
events {{}}
http {{
  access_log {site}/logs/access.log;
  client_body_temp_path {site}/temp;
  proxy_temp_path {site}/temp;
  fastcgi_temp_path {site}/temp;
  uwsgi_temp_path {site}/temp;
  scgi_temp_path {site}/temp;
  {upstream}
  server {{
    listen 127.0.0.1:{port};
    location / {{ {location} }}
  }}
}}
"""


def main(command):
    {"up": up, "deploy": deploy, "down": down}[command]()


def up():
    for name in ("logs", "temp", "releases"):
        (SITE / name).mkdir(parents=True, exist_ok=True)
    if master():
        return
    for _ in range(20):  # somebody else may take the port in between
        port = read(SITE / "port") or free_port()
        configure(port, [])
        failure = nginx()
        if failure is None:
            (SITE / "port").write_text(f"{port}\n")
            print(f"nginx listens on port {port}")
            return
        (SITE / "port").unlink(missing_ok=True)
    sys.exit(f"nginx does not start: {failure}")


def deploy():
    name, release = os.environ["NAME"], json.loads(os.environ["RELEASE"])
    up()
    root = RELEASES / name
    if read(SITE / "live") == name and all(healthy(port) for _, port in instances(root)):
        print(f"{name} serves already")
    else:
        stop(root)
        unpack(release["artifact"], root)
        ports = [start(root, i, release["env"]) for i in range(release["instances"])]
        try:
            for i, port in enumerate(ports):
                wait(lambda: healthy(port) or not alive(root, i))
                if not healthy(port):
                    sys.exit(f"instance {i} of {name} does not start: {read(root / f'{i}.log')[-2000:]}")
        except BaseException:
            stop(root)
            raise
        shift(ports)
        (SITE / "live").write_text(name)
        print(f"{name} serves, with {len(ports)} instances")
    for other in RELEASES.iterdir():
        if other != root:
            stop(other)
            print(f"{other.name} has ended")


def down():
    if not SITE.exists():
        return
    pid = master()
    if pid:
        os.kill(pid, signal.SIGTERM)
        wait(lambda: not master())
    for root in RELEASES.glob("*"):
        stop(root)
    shutil.rmtree(SITE)


def shift(ports):
    """Lets the proxy ask the instances at these ports, and waits until nobody asks others."""
    before = workers()
    configure(read(SITE / "port"), ports)
    failure = nginx("-t")
    if failure:
        sys.exit(f"nginx: {failure}")
    os.kill(master(), signal.SIGHUP)
    wait(lambda: not before & workers())


def configure(port, ports):
    servers = "".join(f" server 127.0.0.1:{p};" for p in ports)
    root = os.geteuid() == 0
    (SITE / "nginx.conf").write_text(CONFIGURATION.format(
        site=SITE, port=port, user=f"user {getpass.getuser()} {grp.getgrgid(os.getegid()).gr_name};\n" if root else "",
        upstream=f"upstream shop {{{servers} }}" if ports else "",
        location="proxy_pass http://shop;" if ports else "return 503;"))


def nginx(*options):
    """Runs nginx, and returns why it failed; None if it did not. It goes on in the background by itself."""
    with open(SITE / "logs/start.log", "w") as log:
        done = subprocess.run(
            [NGINX, "-p", SITE, "-e", SITE / "logs/error.log", "-c", SITE / "nginx.conf", *options],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    return (read(SITE / "logs/start.log") or f"exit status {done.returncode}") if done.returncode else None


def master():
    """Returns the process ID of the proxy; 0 if it does not run."""
    pid = read(SITE / "nginx.pid")
    return int(pid) if pid and str(SITE) in processes().get(int(pid), (0, ""))[1] else 0


def workers():
    pid = master()
    return {child for child, (parent, _) in processes().items() if parent == pid}


def unpack(artifact, root):
    with urllib.request.urlopen(artifact["url"]) as response:
        content = response.read()
    if "sha256:" + hashlib.sha256(content).hexdigest() != artifact["digest"]:
        sys.exit(f"{artifact['url']} is not what the commit stage has stored")
    root.mkdir()
    (root / "artifact.tar.gz").write_bytes(content)
    with tarfile.open(root / "artifact.tar.gz") as archive:
        archive.extractall(root)


def start(root, i, env):
    """Starts an instance. It writes down its process ID before it is the service."""
    port = free_port()
    (root / f"{i}.port").write_text(str(port))
    with open(root / f"{i}.log", "w") as log:
        subprocess.Popen(
            ["sh", "-c", 'echo $$ >"$0" && exec "$@"', root / f"{i}.pid", "python3", root / "shop.py", "--port", str(port)],
            cwd=root, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    wait(lambda: read(root / f"{i}.pid"))
    return port


def stop(root):
    """Ends the instances of a release, after what they have begun to answer."""
    for i, _ in instances(root):
        if alive(root, i):
            os.kill(int(read(root / f"{i}.pid")), signal.SIGTERM)
    for i, _ in instances(root):
        wait(lambda: not alive(root, i))
    shutil.rmtree(root, ignore_errors=True)


def instances(root):
    return [(int(f.stem), int(read(f))) for f in sorted(root.glob("*.port"))]


def alive(root, i):
    pid = read(root / f"{i}.pid")
    return bool(pid) and str(root) in processes().get(int(pid), (0, ""))[1]


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def processes():
    """Returns the parent and the command line of each process, by its ID."""
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in listing.splitlines()]
    return {int(pid): (int(parent), "".join(args)) for pid, parent, *args in lines}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def read(path):
    return path.read_text().strip() if path.exists() else ""


def wait(done):
    limit = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > limit:
            sys.exit(f"it was not done within {PATIENCE} s; see the logs in {SITE}")
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
