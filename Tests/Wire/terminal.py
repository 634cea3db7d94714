"""Runs a program on a pseudo-terminal, as a person would, and shows what it printed."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time

ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x07")


class Terminal:
    def __init__(self, *command: str):
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            os.environ["TERM"] = "dumb"
            os.environ["HOME"] = "/nonexistent"
            os.execvp(command[0], command)
        self.seen = b""

    def expect(self, text: str, seconds: float = 10) -> str:
        """Waits until `text` appears after what was expected before; returns all up to it."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.descriptor], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"{text!r} did not appear; on the screen: {self.seen!r}")
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"ended without {text!r}; on the screen: {self.seen!r}")
            self.seen = ESCAPE.sub(b"", self.seen + data)
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode(errors="replace") + text

    def type(self, line: str) -> None:
        os.write(self.descriptor, line.encode() + b"\r")

    def close(self) -> None:
        try:
            os.kill(self.process, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.process, 0)
        os.close(self.descriptor)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
