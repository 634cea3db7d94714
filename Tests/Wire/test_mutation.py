"""A seeded run of mutated frames through a live server."""

import random

import mutation
from servers import SHARE

FRAMES = int(100_000 * SHARE)


def test_mutated_frames_neither_end_nor_hang_the_server(new_server):
    server = new_server("--io-threads", "2")
    before = None
    for seed, share in ((1, 2), (random.randrange(2, 2**31), 2)):
        problem = mutation.run(server, seed, FRAMES // share)
        assert problem is None, problem
        # What bursts left behind is the keys of a small pool: the second half must not add to it.
        before = before or server.resident_bytes()
    assert server.resident_bytes() - before < 64 << 20
