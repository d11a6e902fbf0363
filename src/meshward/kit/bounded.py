"""Answers of others, read only as far as they may be long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

LONGEST_DOCUMENT = 1_000_000
"""Bytes of one JSON document from an issuer, an edge or a model server."""
PLAIN = {"Accept": "application/json", "Accept-Encoding": "identity"}
"""Headers that ask for a document as it is: a compressed one may be of any size once it is read."""


class TooLongError(Exception):
    """The answer is longer than it may be, or took longer."""


def read_bounded(
    chunks: Iterable[bytes], most: int = LONGEST_DOCUMENT, in_time: Callable[[], bool] = lambda: True
) -> bytes:
    """All of `chunks`, at most `most` bytes, asked for while `in_time`. Raises TooLongError."""
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > most or not in_time():
            raise TooLongError
    return bytes(body)


async def read_bounded_async(chunks: AsyncIterator[bytes], most: int = LONGEST_DOCUMENT) -> bytes:
    """All of `chunks`, at most `most` bytes; whoever awaits it bounds the time. Raises TooLongError."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > most:
            raise TooLongError
    return bytes(body)
