"""Compressed bodies whose end is added later, and answers that are kept as long as there is room."""

import asyncio
import gzip
from collections.abc import Callable

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from api_gateway import packing, responses
from api_gateway.scan import Answer, Answers
from support.tapes import examples

UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


@examples(60)
@given(st.binary(min_size=1, max_size=3_000), st.binary(max_size=500), st.sampled_from(packing.ENCODINGS))
def test_a_body_comes_out_as_it_went_in_with_its_end(body: bytes, end: bytes, encoding: str) -> None:
    packed = asyncio.run(packing.packed(body * 3, encoding))

    assert UNPACK[encoding](packed.with_rest(end)) == body * 3 + end


@pytest.mark.parametrize("encoding", packing.ENCODINGS)
def test_what_is_long_is_packed_the_same_beside_the_loop(encoding: str) -> None:
    body = b"patterns " * 200_000

    packed = asyncio.run(packing.packed(body, encoding))

    for end in (b"", b"!", b"x" * 65_535):
        assert UNPACK[encoding](packed.with_rest(end)) == body + end
    assert len(packed.start) < len(body) / 50


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5, *;q=0", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, br;q=0, gzip;q=0, *", None),
        ("identity", None),
        ("GZIP;q=0.1", "gzip"),
    ],
)
def test_only_what_the_client_takes_is_chosen(accepted: str, encoding: str | None) -> None:
    assert responses.encoding_of(accepted) == encoding


def _answer(size: int) -> Answer:
    return Answer("", b"x" * size, b"", "", None)


def test_answers_are_forgotten_when_they_are_too_many_or_too_long_the_oldest_first() -> None:
    kept = Answers(most=3, most_bytes=100)
    for n in range(4):
        kept.keep(b"%d" % n, _answer(10))
    assert [kept.find(b"%d" % n) is not None for n in range(4)] == [False, True, True, True]

    kept.find(b"1")  # now the one that was asked for last
    kept.keep(b"long", _answer(75))

    assert [kept.find(key) is not None for key in (b"1", b"2", b"3", b"long")] == [True, False, True, True]
    assert kept.size == 95


def test_an_answer_that_grows_counts_with_all_it_has() -> None:
    kept, answer = Answers(most_bytes=100), _answer(40)
    kept.keep(b"a", answer)
    kept.keep(b"b", _answer(40))

    answer.packed["gzip"] = packing.Packed(b"y" * 30, bytes)
    kept.keep(b"a", answer)

    assert (kept.find(b"b"), kept.size) == (None, 70)
