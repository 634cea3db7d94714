"""Runs every transcript in RESP2 and RESP3, sent whole and sent in pieces.

The same sessions run against the oracle whose version has what they need: that is how we know that
a transcript is right before Martlet is measured by it.
"""

import time

import pytest

import transcript
from resp import Connection, encode, quote, render_command
from servers import Server

SESSIONS = transcript.all_sessions()
VERSIONS = {"redis7": (7, 0), "redis8": (8, 2)}


def run(server: Server, session: transcript.Session, protocol: int, split: bool) -> None:
    connections: dict[str, Connection] = {}
    with server.connect() as cleaner:
        cleaner.ok("FLUSHALL")
        # Connections of the session before, or left over from another test, would be counted as subscribers.
        cleaner.ok("CLIENT", "KILL", "TYPE", "pubsub")
        while cleaner.ok("CLIENT", "LIST", "TYPE", "pubsub"):
            time.sleep(0.001)
    try:
        for line in session.lines:
            connection = connections.get(line.connection)
            if connection is None:
                connection = connections[line.connection] = server.connect(protocol)
            command = line.command or []
            data = encode(*command) if command else b""
            if split and command:
                connection.send_split(data, spread(len(data), line.number), pause=0.0002)
            else:
                connection.send_raw(data)
            reply = connection.read()
            # HELLO and RESET change the protocol in the middle of a session.
            name = command[0].upper() if command else b""
            if name == b"HELLO" and not reply.is_error:
                connection.protocol = 3 if reply.kind == "%" else 2
            elif name == b"RESET":
                connection.protocol = 2
            if not transcript.Expectation(line.expected).matches(reply, connection.protocol):
                pytest.fail(
                    f"{session.path.name}:{line.number} in RESP{protocol} on {server.name}: "
                    f"{render_command(command)[:300]}\n  expected: {line.expected[:2000]}\n"
                    f"  got:      {str(reply)[:2000]}", pytrace=False)
    finally:
        for connection in connections.values():
            connection.close()


def spread(size: int, salt: int) -> list[int]:
    """A few cuts that differ from line to line, always one inside the first line and the last."""
    return sorted({1 + salt % 3, size // 3, (size * 2) // 3 + salt % 2, size - 1} - {0, size})


def protocols(session: transcript.Session) -> list[int]:
    return [session.only] if session.only else [2, 3]


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_martlet_replies_as_the_transcript_says(martlet, session):
    for protocol in protocols(session):
        run(martlet, session, protocol, split=False)
        run(martlet, session, protocol, split=True)


@pytest.mark.parametrize("oracle", VERSIONS)
def test_transcripts_are_true_of_real_servers(oracle, request):
    """All sessions in one test: the oracle is not what is under test."""
    server = request.getfixturevalue(oracle)
    wrong = []
    for session in SESSIONS:
        # What 8.x changed on purpose is checked against 8.x: see differences.py.
        if session.since > VERSIONS[oracle] or (oracle == "redis8" and session.since == (7, 0)):
            continue
        for protocol in protocols(session):
            try:
                run(server, session, protocol, split=False)
            except pytest.fail.Exception as problem:
                wrong.append(str(problem))
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.parametrize("text, wire, protocol", [
    ("OK", b"+OK\r\n", 2),
    ("(integer) 5", b":5\r\n", 2),
    ("(integer) 4..6", b":5\r\n", 3),
    ('"a\\x00b"', b"$3\r\na\x00b\r\n", 3),
    ("(nil)", b"$-1\r\n", 2),
    ("(nil)", b"_\r\n", 3),
    ("(nil array)", b"*-1\r\n", 2),
    ("(nil array)", b"_\r\n", 3),
    ("(error) ERR no", b"-ERR no\r\n", 2),
    ("(error) ERR...", b"-ERR no\r\n", 2),
    ('["a", (integer) 1, [], (nil)]', b"*4\r\n$1\r\na\r\n:1\r\n*0\r\n$-1\r\n", 2),
    ('{"a": (integer) 1}', b"*2\r\n$1\r\na\r\n:1\r\n", 2),
    ('{"a": (integer) 1}', b"%1\r\n$1\r\na\r\n:1\r\n", 3),
    ("(double) 1.5", b"$3\r\n1.5\r\n", 2),
    ('(any order) ["b", "a"]', b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", 2),
    ("[OK, QUEUED]", b"*2\r\n+OK\r\n+QUEUED\r\n", 2),
])
def test_the_notation_means_these_bytes(text, wire, protocol):
    from resp import parse

    assert transcript.Expectation(text).matches(parse(wire, 0)[0], protocol)


@pytest.mark.parametrize("text, wire, protocol", [
    ("OK", b"$2\r\nOK\r\n", 2),
    ("(nil)", b"*-1\r\n", 2),
    ("(nil)", b"$-1\r\n", 3),
    ('{"a": (integer) 1}', b"*2\r\n$1\r\na\r\n:1\r\n", 3),
    ("(error) ERR no", b"-ERR not\r\n", 2),
    ("(integer) 5", b"$1\r\n5\r\n", 2),
])
def test_the_notation_does_not_mean_these_bytes(text, wire, protocol):
    from resp import parse

    assert not transcript.Expectation(text).matches(parse(wire, 0)[0], protocol)


def test_quoting_and_reading_are_inverse():
    everything = bytes(range(256))
    assert transcript.arguments(quote(everything)) == [everything]


