#!/usr/bin/env python3
"""Scripts that never end by themselves: how soon each is gone, and how others fare meanwhile.

    runaway_scripts.py [--budget MS] [--rounds N]

For each script, and for one loop and two: the milliseconds until its error came beyond its budget, the 99th
percentile and the worst of GETs on other shards while it ran (a round trip of a client that does nothing
else; the machine's own share is shown by the same without a script), and resident memory before, at most and
afterwards. Exit status 1 when a bound is exceeded: 100 ms beyond the budget; for the percentile 5 ms, or on a
busy machine twice what it is without a script; 32 MB more memory than before.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import NamedTuple

from resp import Connection
from servers import MARTLET, Server

# The row of the bad-input table: a script without an end, and one that its limit of memory ends.
SCRIPTS = {
    "endless loop": "while true do end",
    "loop in pcall": "while true do pcall(function() while true do end end) end",
    "string.rep chain": "local s = 'x' while true do s = string.rep(s, 2) if #s > 6e7 then s = 'x' end end",
    "one string.rep": "local s = string.rep('x', 2e8) while true do local t = s:upper() end",
    "catastrophic pattern": "return string.find(string.rep('a', 100000), '.-.-.-.-.-b')",
    "backtracking pattern": "while true do string.find(string.rep('a', 30), string.rep('a?', 30) .. string.rep('a', 30)) end",
    "giant table": "local t = {} while true do t[#t + 1] = {} end",
    "giant table of strings": "local t = {} local i = 0 while true do i = i + 1 t[i] = 'value ' .. i end",
    "deep recursion": "local function f(n) return 1 + f(n + 1) end while true do pcall(f, 1) end",
    "deep table": "local t = {} for i = 1, 1e7 do t = {t} end return t",
    "table.concat": "local t = {} for i = 1, 1e6 do t[i] = 'xxxxxxxxxx' end while true do local s = table.concat(t) end",
    "table.sort": "local t = {} for i = 1, 3e5 do t[i] = -i % 77 end while true do table.sort(t, function(a, b) return a > b end) end",
    "gsub": "while true do string.gsub(string.rep('a', 1e6), 'a', 'bb') end",
    "cjson": "local t = {} for i = 1, 1e5 do t[i] = i end while true do cjson.encode(t) end",
    "cmsgpack": "local t = {} for i = 1, 1e5 do t[i] = i end while true do cmsgpack.pack(t) end",
    "commands": "while true do redis.call('incr', KEYS[1]) end",
    "undeclared keys": "local i = 0 while true do i = (i + 1) % 50 redis.call('set', 'own:' .. i, i) end",
    "coroutines": "while true do coroutine.wrap(function() while true do end end)() end",
}
BEYOND_BUDGET_MS_MAX, P99_MS_MAX, MEMORY_BYTES_MAX = 100, 5, 32 << 20
SHARDS_ASKED = 8


class Figures(NamedTuple):
    beyond_ms: float
    p99_ms: float
    worst_ms: float
    asked: int
    grown_bytes: int
    peak_bytes: int
    reply: bytes


class Reader(threading.Thread):
    """Asks for keys in turn and keeps how long each answer took, until told to end."""

    def __init__(self, server: Server, keys: list[str]):
        super().__init__()
        self.connection = server.connect()
        self.keys = keys
        self.times: list[float] = []
        self.ends = threading.Event()
        self.start()

    def run(self):
        number = 0
        while not self.ends.is_set():
            before = time.perf_counter()
            self.connection.call("GET", self.keys[number % len(self.keys)])
            self.times.append(time.perf_counter() - before)
            number += 1
            # A client that asks without a pause would want half of the loop for itself.
            time.sleep(0.0005)
        self.connection.close()

    def finish(self) -> list[float]:
        self.ends.set()
        self.join()
        return sorted(self.times)


def free_keys(server: Server, script: str) -> list[str]:
    """Keys that a running script does not hold: those that a second client gets while it runs."""
    names = [f"other{number}" for number in range(4 * SHARDS_ASKED)]
    with server.connect() as client:
        client.ok("MSET", *(word for name in names for word in (name, "x" * 64)))
    runner = server.begin("EVAL", script, "1", "held")
    free = []
    for name in names:
        with server.connect(timeout=0.1) as probe:
            try:
                probe.call("GET", name)
                free.append(name)
            except TimeoutError:
                pass
    runner.read()
    runner.close()
    return free


def measure(server: Server, script: str, budget_ms: int) -> Figures:
    client: Connection = server.connect(timeout=60)
    keys = free_keys(server, "local i = 0 while true do i = (i + 1) % 50 redis.call('set', 'own:' .. i, i) end"
                     if "own:" in script else "while true do redis.call('incr', KEYS[1]) end")
    assert keys, "every shard is held"
    client.ok("SCRIPT", "FLUSH")
    before = settled_bytes(server, client)
    reader = Reader(server, keys)
    time.sleep(0.02)
    began = time.perf_counter()
    client.send("EVAL", script, "1", "held")
    peak = 0
    waiting = threading.Event()

    def watch():
        nonlocal peak
        while not waiting.wait(0.01):
            peak = max(peak, server.resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    reply = client.read()
    took = time.perf_counter() - began
    waiting.set()
    watcher.join()
    times = reader.finish()
    client.ok("SCRIPT", "FLUSH")
    after = settled_bytes(server, client)
    client.close()
    server.assert_serves()
    return Figures(took * 1000 - budget_ms, times[len(times) * 99 // 100] * 1000, times[-1] * 1000, len(times),
                   after - before, peak, bytes(reply.value if isinstance(reply.value, bytes) else b""))


def settled_bytes(server: Server, client: Connection) -> int:
    """Resident memory once it no longer falls."""
    lowest = server.resident_bytes()
    for _ in range(20):
        time.sleep(0.05)
        now = server.resident_bytes()
        if now >= lowest:
            break
        lowest = now
    return lowest


def quiet(server: Server) -> tuple[float, float]:
    """The 99th percentile and the worst without any script, in milliseconds."""
    reader = Reader(server, ["other1"])
    time.sleep(1)
    times = reader.finish()
    return times[len(times) * 99 // 100] * 1000, times[-1] * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--budget", type=int, default=500, help="script-time-budget-ms")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", help="a part of the name")
    options = parser.parse_args()
    failed = []
    for loops in ("1", "2"):
        with Server(MARTLET, "--io-threads", loops, "--script-time-budget-ms", str(options.budget)) as server:
            p99, worst = quiet(server)
            print(f"{loops} loop{'s' if loops != '1' else ''}, budget {options.budget} ms, without a script: "
                  f"p99 {p99:.2f} ms, worst {worst:.2f} ms")
            for name, script in SCRIPTS.items():
                if options.only and options.only not in name:
                    continue
                for _ in range(options.rounds):
                    figures = measure(server, script, options.budget)
                    is_over = (figures.beyond_ms > BEYOND_BUDGET_MS_MAX or figures.p99_ms > max(P99_MS_MAX, 2 * p99)
                               or figures.grown_bytes > MEMORY_BYTES_MAX)
                    print(f"  {name:24} {figures.beyond_ms:+7.0f} ms  p99 {figures.p99_ms:6.2f}  worst "
                          f"{figures.worst_ms:6.2f} ms of {figures.asked:4}  peak {figures.peak_bytes >> 20:4} MB, "
                          f"{figures.grown_bytes / (1 << 20):+5.0f} MB after  "
                          f"{figures.reply[:44].decode(errors='replace')}{'  OVER' if is_over else ''}", flush=True)
                    if is_over:
                        failed.append(f"{name}, {loops}")
    print(f"exceeded: {'; '.join(failed)}" if failed else "all within their bounds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
