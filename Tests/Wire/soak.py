#!/usr/bin/env python3
"""Mixed load for as long as asked, with every checker running: what a short test cannot see.

Each turn plays the concurrency workloads, a differential run against each oracle and mutated frames,
all on one server with four loops, which must neither die, nor answer wrongly, nor grow.

    soak.py [--minutes N] [--seed N]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time

import differential
import generators
import mutation
import workloads
from servers import MARTLET, ORACLES, Server, find_binary

GROWTH_SHARE_MAX = 0.10
WARM_UP_TURNS = 5


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    options = parser.parse_args()
    seed = options.seed or random.randrange(1, 2**31)
    deadline = time.monotonic() + options.minutes * 60
    oracles = [Server(name) for name in ORACLES if find_binary(name)]
    warm_bytes, warm_descriptors, turn, problem = 0, 0, 0, None
    with Server(MARTLET, "--io-threads", "4") as martlet:
        while time.monotonic() < deadline and problem is None:
            turn += 1
            for name, workload in workloads.ALL.items():
                found = workload(martlet.address, f"{seed}.{turn}")
                problem = problem or (f"{name}:\n" + "\n".join(found[:3]) if found else None)
            for oracle in oracles:
                duel = differential.Duel(martlet, oracle)
                problem = problem or differential.run(duel, seed + turn, 5000, generators.groups())
                duel.ours.end()
                duel.theirs.end()
            problem = problem or mutation.run(martlet, seed + turn, 5000)
            with martlet.connect() as cleaner:
                cleaner.ok("FLUSHALL")
            now_bytes, now_descriptors = martlet.resident_bytes(), descriptors(martlet)
            if turn == WARM_UP_TURNS:
                warm_bytes, warm_descriptors = now_bytes, now_descriptors
            if turn > WARM_UP_TURNS and now_bytes > warm_bytes * (1 + GROWTH_SHARE_MAX) + (8 << 20):
                problem = problem or f"grew from {warm_bytes} to {now_bytes} bytes"
            if turn > WARM_UP_TURNS and now_descriptors > warm_descriptors + 20:
                problem = problem or f"{warm_descriptors} descriptors became {now_descriptors}"
            print(f"turn {turn}: {now_bytes >> 20} MB, {now_descriptors} descriptors", flush=True)
    for oracle in oracles:
        oracle.stop()
    print(problem or f"{turn} turns without a problem", f"(seed {seed})")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
