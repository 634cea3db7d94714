#!/usr/bin/env python3
"""Fills in the replies of a transcript from a real server: write the commands, run this, and read.

    record_transcript.py FILE [--oracle redis7]

A reply that is already there stays, unless --all. The result is to be read, not trusted: where the
oracle's reply is not what Martlet must give, correct it and say so in differences.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import transcript
from resp import Connection, encode
from servers import Server

COLUMN = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--oracle", default="redis7")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    with Server(options.oracle) as server:
        connections: dict[str, Connection] = {}
        protocol = 3
        written = []
        lines = options.path.read_text().splitlines()
        for text, following in zip(lines, [*lines[1:], ""]):
            stripped = text.strip()
            if not stripped:
                with server.connect() as cleaner:
                    cleaner.ok("FLUSHALL")
                connections, protocol = {}, 3
            elif stripped == "! only 2":
                protocol = 2
            command, expected = transcript.split_reply(stripped)
            if following.strip().startswith("< "):
                expected = following.strip()[2:]
            if stripped.startswith("<<") or stripped[1:].startswith("<<"):
                name = stripped.split("<<")[0]
                text = f"{name}<< {connections[name].read()}"
            found = transcript.COMMAND.match(command)
            if found and not stripped.startswith(("#", "!", "<")):
                connection = connections.get(found[1])
                if connection is None:
                    connection = connections[found[1]] = server.connect(protocol)
                connection.send_raw(encode(*transcript.arguments(found[2])))
                reply = str(connection.read())
                if expected is not None and not options.all:
                    written.append(text)
                    continue
                expected = reply
                text = f"{command:<{COLUMN}} < {expected}"
                if len(text) > 100:
                    text = f"{command}\n    < {expected}"
            written.append(text)
        options.path.write_text("\n".join(written) + "\n")


if __name__ == "__main__":
    main()
