"""A RESP client of our own, for tests: exact types, raw bytes, nothing hidden.

Client libraries decode replies, retry, reconnect and convert; a test of the wire must see what was
sent. So every reply is a `Reply(kind, value)` whose kind is the type byte of the wire: a simple
string and a bulk string with the same bytes differ, and so do the three kinds of null.
"""

from __future__ import annotations

import socket
import time
from typing import Iterable, NamedTuple

RECEIVE_BYTES = 1 << 18


class Reply(NamedTuple):
    """One typed reply.

    kind   value
    '+'    simple string: bytes
    '-'    error: bytes, the whole line
    ':'    integer: int
    '$'    bulk string: bytes; None is RESP2's null bulk string
    '*'    array: tuple of Reply; None is RESP2's null array
    '_'    RESP3's null: None
    ','    double: bytes, as printed
    '#'    boolean: bool
    '('    big number: bytes
    '='    verbatim string: bytes, with its three-letter format and colon
    '!'    blob error: bytes
    '%'    map: tuple of (Reply, Reply)
    '|'    attribute: tuple of (Reply, Reply)
    '~'    set: tuple of Reply
    '>'    push: tuple of Reply
    """

    kind: str
    value: object

    @property
    def is_error(self) -> bool:
        return self.kind in "-!"

    @property
    def is_null(self) -> bool:
        return self.value is None

    def __str__(self) -> str:
        return render(self)


class Incomplete(Exception):
    """The buffer ends inside a reply."""


class ProtocolViolation(Exception):
    """The peer sent bytes that are not RESP."""


class Closed(Exception):
    """The peer closed the connection. `replies` holds what arrived before."""

    def __init__(self, replies: Iterable[Reply] = ()):
        super().__init__("connection closed by the peer")
        self.replies = list(replies)


AGGREGATES = {0x2A: "*", 0x7E: "~", 0x3E: ">"}
PAIRED = {0x25: "%", 0x7C: "|"}
BULKS = {0x24: "$", 0x3D: "=", 0x21: "!"}
LINES = {0x2B: "+", 0x2D: "-", 0x2C: ",", 0x28: "("}


def parse(buffer: bytes | bytearray, at: int) -> tuple[Reply, int]:
    """Reads one reply that starts at `at`; returns it and where the next one starts."""
    end = buffer.find(b"\r\n", at)
    if end < 0:
        raise Incomplete
    kind = buffer[at]
    line = bytes(buffer[at + 1 : end])
    after = end + 2
    if kind == 0x3A:
        return Reply(":", int(line)), after
    if kind in BULKS:
        size = int(line)
        if size == -1 and kind == 0x24:
            return Reply("$", None), after
        if size < 0:
            raise ProtocolViolation(f"bulk length {size}")
        if len(buffer) < after + size + 2:
            raise Incomplete
        if buffer[after + size : after + size + 2] != b"\r\n":
            raise ProtocolViolation(f"no CRLF after a bulk of {size} bytes")
        return Reply(BULKS[kind], bytes(buffer[after : after + size])), after + size + 2
    if kind in LINES:
        return Reply(LINES[kind], line), after
    if kind in AGGREGATES:
        count = int(line)
        if count == -1 and kind == 0x2A:
            return Reply("*", None), after
        if count < 0:
            raise ProtocolViolation(f"aggregate of {count}")
        items = []
        for _ in range(count):
            item, after = parse(buffer, after)
            items.append(item)
        return Reply(AGGREGATES[kind], tuple(items)), after
    if kind in PAIRED:
        pairs = []
        for _ in range(int(line)):
            name, after = parse(buffer, after)
            value, after = parse(buffer, after)
            pairs.append((name, value))
        return Reply(PAIRED[kind], tuple(pairs)), after
    if kind == 0x5F:
        if line:
            raise ProtocolViolation(f"null with content {line!r}")
        return Reply("_", None), after
    if kind == 0x23:
        if line not in (b"t", b"f"):
            raise ProtocolViolation(f"boolean {line!r}")
        return Reply("#", line == b"t"), after
    raise ProtocolViolation(f"unknown type byte {kind:#x} before {line[:40]!r}")


def encode(*arguments: bytes | str | int | float) -> bytes:
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        data = to_bytes(argument)
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def to_bytes(argument: bytes | str | int | float) -> bytes:
    if isinstance(argument, (bytes, bytearray)):
        return bytes(argument)
    return str(argument).encode("utf-8", "surrogateescape")


def quote(data: bytes) -> str:
    """Bytes as a double-quoted string that redis-cli and the transcripts read back."""
    named = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x07: "\\a", 0x08: "\\b"}
    return '"' + "".join(
        named.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in data
    ) + '"'


def render(reply: Reply, nested: bool = False) -> str:
    """A reply on one line, in the notation of the transcripts."""

    def inside(item: Reply) -> str:
        return render(item, nested=True)

    kind, value = reply
    if value is None:
        return "(nil array)" if kind == "*" else "(nil)"
    if kind == "+":
        return value.decode("utf-8", "backslashreplace")
    if kind == "$":
        return quote(value)
    if kind == "*":
        return "[" + ", ".join(map(inside, value)) + "]"
    if kind in "~>":
        return {"~": "(set) [", ">": "(push) ["}[kind] + ", ".join(map(inside, value)) + "]"
    if kind in "%|":
        pairs = ", ".join(f"{inside(name)}: {inside(item)}" for name, item in value)
        return ("(attribute) {" if kind == "|" else "{") + pairs + "}"
    if kind == "=":
        return "(verbatim) " + quote(value)
    if kind == "#":
        return "(true)" if value else "(false)"
    words = {"-": "error", "!": "blob error", ":": "integer", ",": "double", "(": "big number"}
    if isinstance(value, int):
        return f"({words[kind]}) {value}"
    text = value.decode("utf-8", "backslashreplace")
    # What a reader could not see, or would take for the end of the item, is quoted.
    ambiguous = text != text.strip() or not text.isprintable() or nested and set(text) & set(",]}:\"")
    return f"({words[kind]}) {quote(value) if ambiguous else text}"


def render_command(arguments: Iterable[bytes]) -> str:
    """A command on one line; an argument is quoted only where it must be."""
    plain = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:*#+(){}=,/$@!?[]^")
    return " ".join(
        argument.decode() if argument and plain.issuperset(argument) else quote(argument)
        for argument in map(to_bytes, arguments)
    )


class Connection:
    """One connection. Nothing is retried and nothing is sent that the caller did not ask for."""

    def __init__(self, address: tuple[str, int] | str, protocol: int = 2, timeout: float = 20.0):
        """Connects to (host, port), or to a Unix socket's path; HELLO 3 is sent for `protocol` 3."""
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.at = 0
        self.protocol = 2
        if protocol == 3:
            self.hello(3)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def hello(self, protocol: int) -> Reply:
        reply = self.call("HELLO", protocol)
        if reply.is_error:
            raise AssertionError(f"HELLO {protocol}: {reply}")
        self.protocol = protocol
        return reply

    def send_raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_split(self, data: bytes, points: Iterable[int], pause: float = 0.0005) -> None:
        """Sends `data` in pieces cut before each of `points`, as separate segments."""
        start = 0
        for point in [*sorted(points), len(data)]:
            if point > start:
                self.socket.sendall(data[start:point])
                start = point
                time.sleep(pause)

    def send(self, *arguments: bytes | str | int | float) -> None:
        self.socket.sendall(encode(*arguments))

    def call(self, *arguments: bytes | str | int | float) -> Reply:
        self.send(*arguments)
        return self.read()

    def ok(self, *arguments: bytes | str | int | float) -> object:
        """Calls, fails on an error reply, returns the bare value."""
        reply = self.call(*arguments)
        assert not reply.is_error, f"{render_command(arguments)}: {reply}"
        return reply.value

    def pipeline(self, commands: Iterable[Iterable[bytes | str | int | float]]) -> list[Reply]:
        commands = [encode(*command) for command in commands]
        self.socket.sendall(b"".join(commands))
        return self.read_many(len(commands))

    def read(self) -> Reply:
        while True:
            try:
                reply, self.at = parse(self.buffer, self.at)
                if self.at == len(self.buffer):
                    self.buffer.clear()
                    self.at = 0
                return reply
            except Incomplete:
                self.receive()

    def read_many(self, count: int) -> list[Reply]:
        replies: list[Reply] = []
        try:
            while len(replies) < count:
                replies.append(self.read())
        except (Closed, ConnectionError) as end:
            raise Closed(replies) from end
        return replies

    def read_until_closed(self) -> list[Reply]:
        """Every reply up to the end of the stream; a reset counts as the end."""
        replies: list[Reply] = []
        try:
            while True:
                replies.append(self.read())
        except (Closed, ConnectionError):
            return replies

    def receive(self) -> None:
        """Waits for more bytes. What was parsed already is dropped from the buffer first."""
        if self.at:
            del self.buffer[: self.at]
            self.at = 0
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise Closed
        self.buffer += data

    def is_silent(self, seconds: float = 0.05) -> bool:
        """True when nothing arrives, not even the end of the stream, for this long."""
        if len(self.buffer) > self.at:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.receive()
            return False
        except TimeoutError:
            return True
        except (Closed, ConnectionError):
            return False
        finally:
            self.socket.settimeout(before)
