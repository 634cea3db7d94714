#!/usr/bin/env python3
"""Instructions per command of the server, counted by callgrind, held against checked-in numbers.

Time is noisy; instruction counts of the same binary and input are not. Each workload is run twice with
different numbers of requests under valgrind; the difference in instructions divided by the difference
in requests is the cost of one, start-up and connection left out.

    instructions.py [--binary PATH] [--write] [WORKLOAD ...]

exits with 1 when a count differs from the baseline by more than the tolerance. `--write` records
what was counted as the new baseline; do that in the commit that moves a number, and say why there.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BASELINE = os.path.join(HERE, "instructions.json")
TOLERANCE = 0.03
KEYS = 1000
FEW, MANY = 2_000, 12_000


def request(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


def key(number):
    return "key:%012d" % (number * 7919 % KEYS)


VALUE = "v" * 64
# Name: pipeline depth, and the request number i.
WORKLOADS = {
    "ping-p16": (16, lambda i: request("PING")),
    "get-p1": (1, lambda i: request("GET", key(i))),
    "get-p16": (16, lambda i: request("GET", key(i))),
    "get-p64": (64, lambda i: request("GET", key(i))),
    "set-p1": (1, lambda i: request("SET", key(i), VALUE)),
    "set-p16": (16, lambda i: request("SET", key(i), VALUE)),
    "set-p64": (64, lambda i: request("SET", key(i), VALUE)),
    "incr-p16": (16, lambda i: request("INCR", "counter:%d" % (i % 100))),
    "mget10-p16": (16, lambda i: request("MGET", *[key(i + n) for n in range(10)])),
    "multi-p16": (16, lambda i: request("MULTI") + request("SET", key(i), VALUE) + request("EXEC")),
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port, process):
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit("the server ended with status %d" % process.returncode)
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not listen within a minute")


def replies_expected(blob):
    return blob.count(b"*") if b"*" in blob else 0


def exchange(connection, blob, count):
    """Sends `blob` and waits until `count` replies to it are there, told by a PING behind it."""
    connection.sendall(blob)
    wanted = count
    seen = b""
    while wanted > 0:
        chunk = connection.recv(1 << 20)
        if not chunk:
            raise SystemExit("the server closed the connection")
        seen += chunk
        done = seen.count(b"END-OF-BATCH")
        if done:
            return
    return


def count_instructions(binary, name, requests):
    depth, make = WORKLOADS[name]
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "callgrind.out")
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, binary,
             "--port", str(port), "--bind", "127.0.0.1", "--io-threads", "1", "--logfile", "/dev/null"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=directory)
        connection = connect(port, process)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = request("ECHO", "END-OF-BATCH")
        fill = b"".join(request("SET", "key:%012d" % n, VALUE) for n in range(KEYS))
        exchange(connection, fill + end, 1)
        sent = 0
        while sent < requests:
            # The last request of each batch is the ECHO, so `depth` counts it.
            batch = b"".join(make(sent + n) for n in range(depth))
            exchange(connection, batch + end, 1)
            sent += depth
        connection.close()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        with open(out) as file:
            for line in file:
                match = re.match(r"(?:summary|totals): (\d+)", line)
                if match:
                    return int(match.group(1)), sent
    raise SystemExit("callgrind wrote no summary")


def measure(binary, name):
    few, few_sent = count_instructions(binary, name, FEW)
    many, many_sent = count_instructions(binary, name, MANY)
    return (many - few) / (many_sent - few_sent)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=os.path.join(HERE, "../../.build/release/martlet"))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("workloads", nargs="*", default=[])
    options = parser.parse_args()
    try:
        with open(BASELINE) as file:
            baseline = json.load(file)
    except FileNotFoundError:
        baseline = {}
    failed = False
    for name in options.workloads or WORKLOADS:
        measured = round(measure(os.path.abspath(options.binary), name))
        known = baseline.get(name)
        verdict = "new"
        if known:
            change = measured / known - 1
            verdict = "%+.1f %%" % (change * 100)
            if abs(change) > TOLERANCE:
                verdict += "  beyond the tolerance of %d %%" % (TOLERANCE * 100)
                failed = True
        print("%-12s %6d instructions, baseline %s  %s" % (name, measured, known, verdict), flush=True)
        baseline[name] = measured
    if options.write:
        with open(BASELINE, "w") as file:
            json.dump(baseline, file, indent=2, sort_keys=True)
            file.write("\n")
        return 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
