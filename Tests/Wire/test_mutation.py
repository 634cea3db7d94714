"""A seeded run of mutated frames through a live server; `make fuzz` draws new seeds."""

import mutation
from servers import SHARE

FRAMES = int(100_000 * SHARE)
SEEDS = (1, 2)
SEEDS = (1, 2)


def test_mutated_frames_neither_end_nor_hang_the_server(new_server):
    server = new_server("--io-threads", "2")
    before = None
    for seed in SEEDS:
        problem = mutation.run(server, seed, FRAMES // len(SEEDS))
        assert problem is None, problem
        # What bursts left behind is the keys of a small pool: the second half must not add to it.
        before = before or server.resident_bytes()
    assert server.resident_bytes() - before < 64 << 20
