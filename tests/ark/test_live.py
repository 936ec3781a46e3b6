"""Who follows the page's document: told at once, told the newest, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
import pytest

from ark.live import MOST_FOLLOWERS, Live

Got = TypeVar("Got")


class Node:
    """Something to be shown."""

    def __init__(self) -> None:
        self.accepted = 0
        self.composed = 0

    def state(self) -> dict[str, Any]:
        self.composed += 1
        quiet = {"at": [], "throughput": [], "p50_ms": [], "p95_ms": []}
        return {"node": {"at": self.composed}, "children": [], "series": quiet, "signals": self.accepted}


@pytest.fixture
def node() -> Node:
    return Node()


def run(coroutine: Coroutine[Any, Any, Got]) -> Got:
    return asyncio.run(asyncio.wait_for(coroutine, 10))


async def shown(following: AsyncGenerator[bytes]) -> int:
    """The count in the next document."""
    event = await anext(following)
    return int(msgspec.json.decode(event.split(b"data: ", 1)[1])["signals"])


def test_whoever_comes_is_shown_how_it_is_now(node: Node) -> None:
    async def scene() -> int:
        node.accepted = 7
        async with aclosing(Live(node.state).follow()) as following:
            return await shown(following)

    assert run(scene()) == 7


def test_a_change_is_told_to_everybody_and_made_once(node: Node) -> None:
    async def scene() -> list[int]:
        live = Live(node.state)
        pages = [live.follow() for _ in range(5)]
        for page in pages:
            await shown(page)
        before = node.composed
        node.accepted = 1
        live.tell_soon()
        told = [await shown(page) for page in pages]
        assert node.composed == before + 1
        for page in pages:
            await page.aclose()
        return told

    assert run(scene()) == [1] * 5


def test_a_storm_of_changes_costs_few_messages_and_hides_the_last_of_none(node: Node) -> None:
    async def scene() -> int:
        live = Live(node.state)
        async with aclosing(live.follow()) as following:
            await shown(following)
            before = node.composed
            for count in range(1, 1001):
                node.accepted = count
                live.tell_soon()
                await asyncio.sleep(0)
            while await shown(following) != 1000:
                pass
            return node.composed - before

    assert run(scene()) < 20


def test_who_was_slow_gets_the_newest_and_nothing_in_between(node: Node) -> None:
    async def scene() -> int:
        live = Live(node.state)
        async with aclosing(live.follow()) as following:
            await shown(following)
            for node.accepted in (1, 2, 3):
                live.tell()
            return await shown(following)

    assert run(scene()) == 3


def test_nothing_is_made_while_nobody_follows(node: Node) -> None:
    async def scene() -> None:
        live = Live(node.state)
        live.tell()
        live.tell_soon()
        async with aclosing(live.follow()) as following:
            await shown(following)
        before = node.composed
        live.tell()
        live.tell_soon()
        await asyncio.sleep(0.1)
        assert node.composed == before
        assert not live.is_followed

    run(scene())


def test_one_follower_too_many_gets_nothing(node: Node) -> None:
    async def scene() -> list[bytes]:
        live = Live(node.state)
        pages = [live.follow() for _ in range(MOST_FOLLOWERS)]
        for page in pages:
            await shown(page)
        assert live.is_full
        extra = [event async for event in live.follow()]
        await pages[0].aclose()
        assert not live.is_full
        for page in pages[1:]:
            await page.aclose()
        return extra

    assert run(scene()) == []


def test_when_the_server_stops_everybody_is_let_go(node: Node) -> None:
    async def scene() -> list[bytes]:
        live = Live(node.state)
        following = live.follow()
        await shown(following)
        live.stop()
        return [event async for event in following]

    assert run(scene()) == []
