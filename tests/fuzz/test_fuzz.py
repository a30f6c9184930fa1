"""Every target with its seeds, the corpus, and what hypothesis makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


def known(name: str) -> list[bytes]:
    return [*TARGETS[name].seeds, *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_known(name: str) -> None:
    for data in known(name):
        TARGETS[name].run(data)
        for cut in range(0, len(data), max(1, len(data) // 16)):
            TARGETS[name].run(data[:cut])


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_like_it(name: str) -> None:
    """Any bytes, and known ones with a few of them changed, dropped or repeated."""
    seeds = known(name)

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        data = bytearray(draw(st.sampled_from(seeds)))
        for _ in range(draw(st.integers(1, 5))):
            at = draw(st.integers(0, len(data)))
            piece = draw(st.binary(max_size=4) | st.sampled_from([b"\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"]))
            data[at : at + draw(st.integers(0, 3))] = piece
        return bytes(data)

    @settings(max_examples=100)
    @given(st.binary(max_size=300) | changed())
    def run(data: bytes) -> None:
        TARGETS[name].run(data)

    run()


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    for directory in CORPUS.iterdir():
        assert directory.name in TARGETS
        assert sum(path.stat().st_size for path in directory.glob("*")) < 64 * 1024
