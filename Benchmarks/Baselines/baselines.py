#!/usr/bin/env python3
"""What a command costs in instructions and a key in bytes, held against checked-in numbers.

Time is noisy; instruction counts of the same binary and input are not. Each workload is run twice under
callgrind with different numbers of requests; the difference in instructions divided by that in requests
is the cost of one, start-up and connection left out. Bytes are the growth of INFO's used_memory.

    baselines.py [--binary PATH] [--update] [NAME ...]

exits with 1 when a number has grown by more than 3 %. A smaller one is good news: `--update` records it.
Do that in the commit that moves a number, and say why there. Counts depend on the compiler: with another
one than the baseline's they are shown and not held.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BASELINES = os.path.join(HERE, "baselines.json")
TOLERANCE = 0.03
KEYS = 1000
FEW, MANY = 2_000, 12_000
VALUE = "v" * 64
MEMBERS = 20_000
TEN_FIELDS = [word for n in range(10) for word in ("field:%d" % n, "v" * 10)]


def request(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


def key(number):
    return "key:%012d" % (number * 7919 % KEYS)


def member(number):
    return "member:%012d" % (number * 7919 % MEMBERS)


def score(number):
    return "%06d" % (number * 104_729 % 1_000_003)


def limiter(number):
    """A sliding window of about ten members under each of a hundred keys."""
    key = "limiter:%012d" % (number * 7919 % 100)
    now = str(1_000_000_001_000 + number)
    return (request("ZREMRANGEBYSCORE", key, "0", str(1_000_000_000_000 + number))
            + request("ZADD", key, now, now) + request("ZCARD", key) + request("EXPIRE", key, "60"))


RELEASE = ("if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) "
           "else return 0 end")
WINDOW = ("redis.call('zremrangebyscore',KEYS[1],0,ARGV[1]-ARGV[2]) "
          "if redis.call('zcard',KEYS[1]) < tonumber(ARGV[3]) then "
          "redis.call('zadd',KEYS[1],ARGV[1],ARGV[4]) "
          "redis.call('pexpire',KEYS[1],ARGV[2]) return 1 end return 0")


def digest(script):
    return hashlib.sha1(script.encode()).hexdigest()


def lock(number, *release):
    """A lock is taken, and released by a script."""
    key = "lock:%012d" % (number * 7919 % KEYS)
    return request("SET", key, "t" * 16, "NX", "PX", "30000") + request(*release, "1", key, "t" * 16)


def window(number):
    """The window of `limiter` in a script."""
    now = str(1_000_000_001_000 + number)
    return request("EVALSHA", digest(WINDOW), "1", "limiter:%012d" % (number * 7919 % 100),
                   now, "1000", "100", now)


# Name: requests in one event, and the request number i.
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
    "zadd-p16": (16, lambda i: request("ZADD", "zset", str(i * 7919 % 10007), key(i))),
    "zmove-p16": (16, lambda i: request("ZADD", "large", score(i), member(i))),
    "zrank-p16": (16, lambda i: request("ZRANK", "large", member(i))),
    "zrange10-p16": (16, lambda i: request(
        "ZRANGE", "large", str(i * 7919 % MEMBERS), str(i * 7919 % MEMBERS + 9))),
    "limiter-p16": (16, lambda i: limiter(i)),
    "hset-p16": (16, lambda i: request("HSET", "hash:%06d" % (i * 7919 % 100), *TEN_FIELDS)),
    "hgetall10-p16": (16, lambda i: request("HGETALL", "hash:%06d" % (i * 7919 % 100))),
    "lpush-rpop-p16": (16, lambda i: request("LPUSH", "list:%06d" % (i % 100), VALUE)
                       + request("RPOP", "list:%06d" % (i % 100))),
    "xadd-p16": (16, lambda i: request("XADD", "stream", "*", "field", VALUE)),
    "evalsha-p16": (16, lambda i: lock(i, "EVALSHA", digest(RELEASE))),
    "eval-p16": (16, lambda i: lock(i, "EVAL", RELEASE)),
    "limiter-script-p16": (16, lambda i: window(i)),
    "xrevrange10-p16": (16, lambda i: request("XREVRANGE", "entries", "+", "-", "COUNT", "10")),
}

# Name: the requests that come before, where a workload wants more than KEYS strings.
PREPARED = dict.fromkeys(
    ("zmove-p16", "zrank-p16", "zrange10-p16"),
    lambda: b"".join(request("ZADD", "large", *(word for n in range(first, first + 100)
                                                for word in (score(n * 13), member(n))))
                     for first in range(0, MEMBERS, 100)))
PREPARED["hgetall10-p16"] = lambda: b"".join(
    request("HSET", "hash:%06d" % n, *TEN_FIELDS) for n in range(100))
PREPARED["evalsha-p16"] = lambda: request("SCRIPT", "LOAD", RELEASE)
PREPARED["limiter-script-p16"] = lambda: request("SCRIPT", "LOAD", WINDOW)
PREPARED["xrevrange10-p16"] = lambda: b"".join(request("XADD", "entries", "*", "field", VALUE) for _ in range(1000))

# Name: the request that makes key number i.
STORED = {
    "bytes-string": lambda i: request("SET", "key:%012d" % i, "v" * 32),
    "bytes-string-ttl": lambda i: request("SET", "key:%012d" % i, "v" * 32, "EX", "100000"),
    "bytes-integer": lambda i: request("SET", "key:%012d" % i, str(i)),
    "bytes-stream-entry": lambda i: request("XADD", "stream", "*", "field", "value:%06d" % i),
}
STORED_KEYS = 200_000


class Server:
    """A server of one loop, without keys, and a connection to it."""

    def __init__(self, binary, *prefix):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.directory = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [*prefix, binary, "--port", str(port), "--bind", "127.0.0.1", "--io-threads", "1",
             "--logfile", "/dev/null"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.directory.name)
        self.connection = self.connect(port)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connect(self, port):
        for _ in range(600):
            if self.process.poll() is not None:
                raise SystemExit("the server ended with status %d" % self.process.returncode)
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=60)
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server did not listen within a minute")

    def exchange(self, requests):
        """Sends requests and an ECHO in one piece, and returns what came back up to the ECHO's reply."""
        self.connection.sendall(requests + request("ECHO", "END-OF-BATCH"))
        seen = b""
        while b"END-OF-BATCH" not in seen:
            chunk = self.connection.recv(1 << 20)
            if not chunk:
                raise SystemExit("the server closed the connection")
            seen += chunk
        if b"\r\n-" in b"\r\n" + seen:
            raise SystemExit("the server replied an error: %r" % seen[:200])
        return seen

    def stop(self):
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)
        self.directory.cleanup()


def count_instructions(binary, name, requests):
    depth, make = WORKLOADS[name]
    with tempfile.NamedTemporaryFile() as out:
        server = Server(binary, "valgrind", "--tool=callgrind", "--callgrind-out-file=" + out.name)
        server.exchange(b"".join(request("SET", "key:%012d" % n, VALUE) for n in range(KEYS)))
        if name in PREPARED:
            server.exchange(PREPARED[name]())
        sent = 0
        while sent < requests:
            server.exchange(b"".join(make(sent + n) for n in range(depth)))
            sent += depth
        server.stop()
        for line in open(out.name):
            match = re.match(r"(?:summary|totals): (\d+)", line)
            if match:
                return int(match.group(1)), sent
    raise SystemExit("callgrind wrote no summary")


def instructions(binary, name):
    few, few_sent = count_instructions(binary, name, FEW)
    many, many_sent = count_instructions(binary, name, MANY)
    return round((many - few) / (many_sent - few_sent))


def used_memory(server):
    return int(re.search(rb"used_memory:(\d+)", server.exchange(request("INFO", "memory"))).group(1))


def bytes_per_key(binary, name):
    server = Server(binary)
    before = used_memory(server)
    for first in range(0, STORED_KEYS, 1000):
        server.exchange(b"".join(STORED[name](first + n) for n in range(1000)))
    grown = used_memory(server) - before
    server.stop()
    return round(grown / STORED_KEYS, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=os.path.join(HERE, "../../.build/release/martlet"))
    parser.add_argument("--update", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    binary = os.path.abspath(options.binary)
    compiler = subprocess.run(
        ["swift", "--version"], capture_output=True, text=True).stdout.splitlines()[0].strip()
    known = {"compiler": compiler, "numbers": {}}
    if os.path.exists(BASELINES):
        with open(BASELINES) as file:
            known = json.load(file)
    numbers = known["numbers"]
    has_callgrind = shutil.which("valgrind") is not None
    if not has_callgrind:
        print("valgrind is missing: instructions are not counted")
    grown = []
    # Valgrind gives up on what Debian's LuaJIT says for debuggers; names of functions stay.
    copies = tempfile.TemporaryDirectory()
    stripped = os.path.join(copies.name, "martlet")
    if shutil.which("strip"):
        subprocess.run(["strip", "--strip-debug", "-o", stripped, binary], check=True)
        binary = stripped
    for name in options.names or [*WORKLOADS, *STORED]:
        if name in WORKLOADS and not has_callgrind:
            continue
        measured = instructions(binary, name) if name in WORKLOADS else bytes_per_key(binary, name)
        unit = "instructions" if name in WORKLOADS else "bytes"
        verdict = "new"
        if name in numbers:
            change = measured / numbers[name] - 1
            verdict = "%+.1f %%" % (change * 100)
            if change > TOLERANCE and (unit == "bytes" or compiler == known["compiler"]):
                verdict += "  GROWN"
                grown.append(name)
        print("%-18s %8s %-12s  baseline %8s  %s" % (name, measured, unit, numbers.get(name), verdict),
              flush=True)
        if options.update:
            numbers[name] = measured
    if options.update:
        known["compiler"] = compiler
        with open(BASELINES, "w") as file:
            json.dump(known, file, indent=2, sort_keys=True)
            file.write("\n")
        return 0
    if grown:
        print("%d passed, %d failed: %s grew by more than %d %%; if that is meant, `make baselines UPDATE=1`"
              % (len(numbers) - len(grown), len(grown), ", ".join(grown), TOLERANCE * 100))
        return 1
    print("%d baselines hold" % len(numbers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
