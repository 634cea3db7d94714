"""The client must be right before the server can be blamed."""

import pytest

from resp import Incomplete, ProtocolViolation, Reply, encode, parse, render


@pytest.mark.parametrize("wire, kind, value", [
    (b"+OK\r\n", "+", b"OK"),
    (b"-ERR no\r\n", "-", b"ERR no"),
    (b":-12\r\n", ":", -12),
    (b"$3\r\na\r\n\r\n", "$", b"a\r\n"),
    (b"$0\r\n\r\n", "$", b""),
    (b"$-1\r\n", "$", None),
    (b"*-1\r\n", "*", None),
    (b"_\r\n", "_", None),
    (b",-inf\r\n", ",", b"-inf"),
    (b"#f\r\n", "#", False),
    (b"(123456789012345678901\r\n", "(", b"123456789012345678901"),
    (b"=5\r\ntxt:a\r\n", "=", b"txt:a"),
    (b"*2\r\n:1\r\n*0\r\n", "*", (Reply(":", 1), Reply("*", ()))),
    (b"%1\r\n+a\r\n:1\r\n", "%", ((Reply("+", b"a"), Reply(":", 1)),)),
    (b"~1\r\n:1\r\n", "~", (Reply(":", 1),)),
    (b">1\r\n+x\r\n", ">", (Reply("+", b"x"),)),
])
def test_every_reply_type_is_read_and_no_prefix_is_taken_for_it(wire, kind, value):
    assert parse(wire, 0) == (Reply(kind, value), len(wire))
    for cut in range(len(wire)):
        with pytest.raises(Incomplete):
            parse(wire[:cut], 0)


@pytest.mark.parametrize("wire", [b"$2\r\nabcd\r\n", b"$-2\r\n", b"?1\r\n", b"#x\r\n", b"_1\r\n"])
def test_what_is_not_resp_is_refused(wire):
    with pytest.raises(ProtocolViolation):
        parse(wire, 0)


def test_replies_with_the_same_bytes_but_other_types_differ():
    assert Reply("+", b"a") != Reply("$", b"a")
    assert len({Reply("$", None), Reply("*", None), Reply("_", None)}) == 3


def test_commands_are_encoded_as_arrays_of_bulk_strings():
    assert encode("SET", b"\r\n", 12) == b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$2\r\n12\r\n"


def test_a_reply_renders_on_one_line():
    wire = b"*4\r\n$1\r\n\x00\r\n$-1\r\n:1\r\n*1\r\n+OK\r\n"
    assert render(parse(wire, 0)[0]) == '["\\x00", (nil), (integer) 1, [OK]]'
