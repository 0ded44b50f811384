"""The claim stage, with a real instance; settle is real too where a file has to come to its end."""

import asyncio
import gzip
import json
import os
import random
import uuid
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from spoolhouse.file_names import Spilled
from spoolhouse.pipeline.messages import Complete
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState
from spoolhouse.spool.layout import Place
from spoolhouse.spool.shipment import Shipment
from tests.integration import build
from tests.integration.build import LIMITS, LINE, NEVER


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path


def _ranges(*shipments: Shipment) -> list[tuple[int, int, int]]:
    return [(segment.file, segment.start, segment.end) for shipment in shipments for segment in shipment.segments]


def _covers(ranges: Iterable[tuple[int, int, int]], size: int) -> bool:
    """Tell whether ranges of one file cover all of it, each byte once."""
    at = 0
    for _, start, end in sorted(ranges):
        if start != at or end <= start:
            return False
        at = end
    return at == size


async def test_small_files_travel_together(spool: Path) -> None:
    async with build.ClaimStage(spool, max_files=5, linger=NEVER).running() as stage:
        for number in range(5):
            await stage.drop(f"{number}.jsonl")
        shipment = await stage.shipment()
    assert _ranges(shipment) == [(number, 0, len(LINE)) for number in range(1, 6)]
    assert (shipment.type, shipment.instance, shipment.fingerprint, shipment.limits) == (
        "span",
        "own",
        "f",
        LIMITS,
    )
    assert not shipment.replay
    assert stage.in_flight.under_way == set()
    stage.instance.close()


async def test_a_spilled_batch_is_a_shipment_of_its_own_under_the_id_that_its_exporter_has_sent(spool: Path) -> None:
    """Not a copy of one that the journal has, nor a file that is too large to be one round, or that has a torn end.

    A file of its name, but with other content or in another folder, has another id.
    """
    batch, known, large, torn = (Spilled(str(uuid.uuid4()), 1700000000000 + number) for number in range(4))
    async with build.ClaimStage(spool, max_bytes=2 * len(LINE), linger=NEVER, watch=NEVER).running() as stage:
        shipments = [
            build.plan(
                stage.instance,
                known.landed_as("span", "p", [LINE * 2]).shipment,
                build.claim(stage.instance, content=LINE * 2),
            )
        ]
        for kind, content in (("span", LINE * 2), ("span", LINE), ("log", LINE)):
            await stage.drop(batch.file_name, content, kind)
            shipments.append(shipment := await stage.shipment())
            assert (shipment.id, shipment.clock_ms) == batch.landed_as(kind, "p", [LINE] * content.count(b"\n"))
            assert shipment.replay
            assert shipment.limits.max_rows > LIMITS.max_rows
            await stage.acknowledge(shipment)
            await stage.destination()
        assert len({shipment.id for shipment in shipments}) == 4
        await stage.drop(known.file_name, LINE * 2)
        await stage.drop(large.file_name, LINE * 3)
        others = [await stage.shipment() for _ in range(3)]
        await stage.drop(torn.file_name, LINE * 2 + b'{"x', kind="metric")
        others.append(await stage.shipment())
    assert not {other.id for other in others} & {shipment.id for shipment in shipments}
    assert not any(other.replay for other in others)
    assert [other.limits for other in others] == [LIMITS] * 4
    assert [one.id for one in stage.instance.journal.load().planned] == [one.id for one in (shipments[0], *others)]
    stage.instance.close()


async def test_each_type_has_its_own_shipment(spool: Path) -> None:
    async with build.ClaimStage(spool, max_files=3, linger=NEVER).running() as stage:
        for number in range(3):
            await stage.drop(f"{number}.jsonl", kind="span")
            await stage.drop(f"{number}.jsonl", kind="log")
        shipments = [await stage.shipment(), await stage.shipment()]
    assert sorted(shipment.type for shipment in shipments) == ["log", "span"]
    for shipment in shipments:
        names = {stage.instance.files[segment.file].place.type for segment in shipment.segments}
        assert names == {shipment.type}
    stage.instance.close()


async def test_no_shipment_has_more_files_or_bytes_than_it_may(spool: Path) -> None:
    async with build.ClaimStage(spool, max_files=3, max_bytes=10 * len(LINE), linger=0.2).running() as stage:
        for number in range(10):
            await stage.drop(f"{number}.jsonl", LINE * (1 + number % 4))
        shipments: list[Shipment] = []
        while len({file for file, _, _ in _ranges(*shipments)}) < 10:
            shipments.append(await stage.shipment())
    for shipment in shipments:
        assert len(shipment.segments) <= 3
        assert sum(segment.end - segment.start for segment in shipment.segments) <= 10 * len(LINE)
    assert sorted(file for file, _, _ in _ranges(*shipments)) == list(range(1, 11))
    stage.instance.close()


@pytest.mark.parametrize("seed", range(4))
async def test_a_big_file_is_cut_at_line_ends_and_no_byte_is_left_out(seed: int, spool: Path) -> None:
    rng = random.Random(seed)
    lines = [json.dumps({"x": "y" * rng.choice([0, 10, 300, 2500])}).encode() for _ in range(60)]
    content = b"\n".join(lines) + rng.choice([b"", b"\n", b"\n\n"])
    async with build.ClaimStage(spool, max_bytes=1000).running() as stage:
        await stage.drop(content=content)
        shipments = [await stage.shipment()]
        assert stage.instance.files[1].planned_to == len(content)
        planned = (await asyncio.to_thread(stage.instance.journal.load)).planned
        shipments += [await stage.shipment() for _ in range(len(planned) - 1)]
    assert len(shipments) > 10
    assert _covers(_ranges(*shipments), len(content))
    assert all(start == 0 or content[start - 1 : start] == b"\n" for _, start, _ in _ranges(*shipments))
    assert stage.instance.unacknowledged == {1: len(shipments)}
    stage.instance.close()


async def test_a_line_longer_than_a_shipment_is_not_cut(spool: Path) -> None:
    content = LINE + b'{"x": "' + b"y" * 5000 + b'"}\n' + LINE
    async with build.ClaimStage(spool, max_bytes=500).running() as stage:
        await stage.drop(content=content)
        shipments = [await stage.shipment()]
        planned = (await asyncio.to_thread(stage.instance.journal.load)).planned
        shipments += [await stage.shipment() for _ in range(len(planned) - 1)]
    assert _covers(_ranges(*shipments), len(content))
    assert all(start == 0 or content[start - 1 : start] == b"\n" for _, start, _ in _ranges(*shipments))
    stage.instance.close()


async def test_an_archive_is_never_cut(spool: Path) -> None:
    content = gzip.compress(os.urandom(20_000))
    async with build.ClaimStage(spool, max_bytes=1000).running() as stage:
        await stage.drop("a.jsonl.gz", content)
        assert _ranges(await stage.shipment()) == [(1, 0, len(content))]
    stage.instance.close()


@pytest.mark.parametrize("last", [b'{"a": 1}', b'{"a": {"b": []}} ', b"  ", b"\r", b'{"a": "' + b"x" * 2000])
async def test_a_last_line_without_its_end_ships_if_nothing_can_be_missing(last: bytes, spool: Path) -> None:
    """It is a whole object, or blank, or longer than any line that is taken."""
    async with build.ClaimStage(spool).running() as stage:
        await stage.drop(content=LINE + last)
        assert _ranges(await stage.shipment()) == [(1, 0, len(LINE + last))]
    stage.instance.close()


async def test_a_torn_last_line_waits_then_ships_as_it_is(spool: Path) -> None:
    torn = [b'{"a": 1', b'{"a": "}', b"1", b"nul", b'{"a": 1}{', b"\xff"]
    async with build.ClaimStage(spool, max_files=6, linger=NEVER, torn_after=0.2, watch=0.0).running() as stage:
        for number, line in enumerate(torn, start=1):
            await stage.drop(f"{number}.jsonl", LINE + line)
        first = await stage.shipment()
        assert _ranges(first) == [(number, 0, len(LINE)) for number in range(1, 7)]
        await stage.acknowledge(first)
        append_watch = [await stage.shipment() for _ in torn]
        ends = [(number, len(LINE), len(LINE + line)) for number, line in enumerate(torn, start=1)]
        assert sorted(_ranges(*append_watch)) == ends
        for watched in append_watch:
            await stage.acknowledge(watched)
        found = {(await stage.destination()).read_bytes() for _ in torn}
        assert found == {LINE + line for line in torn}
    stage.instance.close()


async def test_a_torn_line_that_is_all_there_is_waits_too(spool: Path) -> None:
    async with build.ClaimStage(spool, torn_after=0.2, watch=0.0).running() as stage:
        await stage.drop(content=b'{"a"')
        shipment = await stage.shipment()
        assert _ranges(shipment) == [(1, 0, 4)]
        await stage.acknowledge(shipment)
        await stage.destination()
    stage.instance.close()


async def test_a_torn_line_that_gets_its_end_ships_as_one_line(spool: Path) -> None:
    async with build.ClaimStage(spool, watch=0.0).running() as stage:
        await stage.drop(content=LINE + b'{"type": ')
        first = await stage.shipment()
        with stage.instance.path(1).open("ab") as writer:
            writer.write(b'"log"}\n')
        await stage.acknowledge(first)
        second = await stage.shipment()
        assert _ranges(first, second) == [(1, 0, 17), (1, 17, 33)]
        await stage.acknowledge(second)
        await stage.destination()
    stage.instance.close()


async def test_an_empty_file_is_complete_at_once(spool: Path) -> None:
    stage = build.ClaimStage(spool)
    async with stage.running():
        await stage.drop(content=b"")
        news = await stage.news.receive()
    assert isinstance(news, Complete)
    assert (news.instance, news.file) == (stage.instance, 1)
    assert [shipment async for shipment in stage.shipments] == []
    stage.instance.close()


async def test_an_empty_file_that_is_written_to_in_processed_is_shipped(spool: Path) -> None:
    async with build.ClaimStage(spool, watch=NEVER).running() as stage:
        await stage.drop(content=b"")
        destination = await stage.destination()
        destination.write_bytes(LINE)
        assert _ranges(await stage.shipment()) == [(1, 0, len(LINE))]
    stage.instance.close()


async def test_an_empty_file_is_in_the_journal_while_it_is_watched(spool: Path) -> None:
    """Else a restart forgets it, and what its writer still appends is never ingested."""
    async with build.ClaimStage(spool, watch=NEVER).running() as stage:
        await stage.drop(content=b"")
        await stage.destination()
        (file,) = (await asyncio.to_thread(stage.instance.journal.load)).files
        assert file.state is FileState.FINAL
    stage.instance.close()


async def test_nothing_is_claimed_while_nothing_can_be_written(spool: Path) -> None:
    stage = build.ClaimStage(spool)
    stage.writable.clear()
    async with stage.running():
        path = await stage.drop()
        await asyncio.sleep(0.3)  # longer than the stage waits for anything
        assert path.exists()
        assert not stage.instance.files
        stage.writable.set()
        assert _ranges(await stage.shipment()) == [(1, 0, len(LINE))]
        assert not path.exists()
    stage.instance.close()


async def test_while_the_gate_is_shut_only_what_is_claimed_goes_on(spool: Path) -> None:
    async with build.ClaimStage(spool, watch=0.0).running() as stage:
        await stage.drop(content=LINE)
        first = await stage.shipment()
        stage.gate.clear()
        waiting = await stage.drop("later.jsonl")
        with stage.instance.path(1).open("ab") as writer:
            writer.write(LINE)
        await stage.acknowledge(first)
        watched = await stage.shipment()
        assert _ranges(watched) == [(1, len(LINE), 2 * len(LINE))]
        await stage.acknowledge(watched)
        await stage.destination()
        assert waiting.exists()
        stage.gate.set()
        assert _ranges(await stage.shipment()) == [(2, 0, len(LINE))]
    stage.instance.close()


async def test_a_stop_ends_a_stage_whose_gate_is_shut(spool: Path) -> None:
    stage = build.ClaimStage(spool)
    stage.gate.clear()
    async with stage.running():
        path = await stage.drop()
        stage.stop.set()
    assert path.exists()
    assert stage.in_flight.under_way == set()
    stage.instance.close()


@pytest.mark.parametrize("writable", [True, False])
async def test_after_a_stop_nothing_is_claimed_but_what_is_packed_is_shipped(writable: bool, spool: Path) -> None:
    stage = build.ClaimStage(spool, linger=NEVER)
    async with stage.running():
        await stage.drop("before.jsonl")
        while not stage.claimer.packer:  # noqa: ASYNC110  # nothing tells of it but the packer itself
            await asyncio.sleep(0.01)
        if not writable:
            stage.writable.clear()
        stage.stop.set()
        after = await stage.drop("after.jsonl")
    assert after.exists()
    assert stage.in_flight.under_way == set()
    assert _ranges(await stage.shipment()) == [(1, 0, len(LINE))]
    assert [shipment async for shipment in stage.shipments] == []
    stage.instance.close()


async def test_what_cannot_be_claimed_harms_no_other_file(spool: Path) -> None:
    async with build.ClaimStage(spool).running() as stage:
        link = await stage.drop("link.jsonl")
        link.unlink()
        link.symlink_to(spool / "secret")
        await stage.announce(Place(type="span", project="p", name="gone.jsonl"))
        await stage.drop("good.jsonl")
        assert _ranges(await stage.shipment()) == [(1, 0, len(LINE))]
    assert [place.name for place in stage.in_flight.refused] == ["link.jsonl"]
    assert stage.in_flight.under_way == set()
    assert link.is_symlink()
    stage.instance.close()


async def test_a_file_of_the_same_name_waits_for_the_first(spool: Path) -> None:
    async with build.ClaimStage(spool, watch=0.0).running() as stage:
        await stage.drop(content=LINE)
        first = await stage.shipment()
        path = await stage.drop(content=LINE * 2)
        while stage.in_flight.under_way:  # noqa: ASYNC110  # nothing tells of it but the desk itself
            await asyncio.sleep(0.01)
        assert path.exists()
        assert stage.in_flight.refused == {}
        assert not stage.wake.is_set()
        await stage.acknowledge(first)
        await stage.destination()
        await stage.wake.wait()
        await stage.announce(Place(type="span", project="p", name="a.jsonl"))
        second = await stage.shipment()
        assert _ranges(second) == [(2, 0, 2 * len(LINE))]
        await stage.acknowledge(second)
        assert (await stage.destination()).name == "a.1.jsonl"
    stage.instance.close()


async def test_bytes_appended_while_claimed_are_a_shipment_of_their_own(spool: Path) -> None:
    async with build.ClaimStage(spool, watch=0.0).running() as stage:
        await stage.drop(content=LINE)
        first = await stage.shipment()
        with stage.instance.path(1).open("ab") as writer:
            writer.write(LINE * 3)
        await stage.acknowledge(first)
        second = await stage.shipment()
        assert _ranges(second) == [(1, len(LINE), 4 * len(LINE))]
        assert second.id != first.id
        await stage.acknowledge(second)
        assert (await stage.destination()).read_bytes() == LINE * 4
    stage.instance.close()


async def test_bytes_appended_in_processed_are_a_shipment_of_their_own(spool: Path) -> None:
    async with build.ClaimStage(spool, watch=0.5).running() as stage:
        await stage.drop(content=LINE)
        await stage.acknowledge(await stage.shipment())
        destination = await stage.destination()
        assert destination.parent.name == "processed"
        with destination.open("ab") as writer:
            writer.write(LINE * 2)
        second = await stage.shipment()
        assert _ranges(second) == [(1, len(LINE), 3 * len(LINE))]
        await stage.acknowledge(second)
        await stage.expired()
        assert (await asyncio.to_thread(stage.instance.journal.load)).files == ()
    assert destination.read_bytes() == LINE * 3
    stage.instance.close()


async def test_a_big_tail_is_cut_as_a_big_file_is(spool: Path) -> None:
    async with build.ClaimStage(spool, max_bytes=200, watch=0.0).running() as stage:
        await stage.drop(content=LINE)
        first = await stage.shipment()
        with stage.instance.path(1).open("ab") as writer:
            writer.write(LINE * 100)
        await stage.acknowledge(first)
        shipments = [await stage.shipment()]
        planned = (await asyncio.to_thread(stage.instance.journal.load)).planned
        shipments += [await stage.shipment() for _ in range(len(planned) - 1)]
        assert len(shipments) > 5
        assert _covers(_ranges(first, *shipments), 101 * len(LINE))
        for shipment in shipments:
            await stage.acknowledge(shipment)
        await stage.destination()
    stage.instance.close()


async def test_a_file_whose_watch_is_over_is_forgotten(spool: Path) -> None:
    async with build.ClaimStage(spool, watch=0.05).running() as stage:
        await stage.drop()
        await stage.acknowledge(await stage.shipment())
        destination = await stage.destination()
        await stage.expired()
    assert stage.instance.journal.load().files == ()
    build.drop_entries([stage.instance])
    assert stage.instance.is_empty()
    assert destination.exists()
    stage.instance.close()


async def test_a_file_that_is_taken_out_of_processed_is_forgotten(spool: Path) -> None:
    async with build.ClaimStage(spool, watch=0.3).running() as stage:
        await stage.drop()
        await stage.acknowledge(await stage.shipment())
        destination = await stage.destination()
        destination.unlink()
        await stage.expired()
    assert stage.instance.journal.load().files == ()
    build.drop_entries([stage.instance])
    assert stage.instance.is_empty()
    assert not destination.exists()
    stage.instance.close()


async def test_the_watch_slides_as_long_as_somebody_writes(spool: Path) -> None:
    stage = build.ClaimStage(spool, watch=NEVER)
    almost = int(NEVER * 1000) - 60_000
    async with stage.running():
        await stage.drop()
        await stage.acknowledge(await stage.shipment())
        destination = await stage.destination()
        for turn in range(1, 4):  # the second write would come too late for the first watch
            stage.ahead_ms = turn * almost
            with destination.open("ab") as writer:
                writer.write(LINE)
            watched = await stage.shipment()
            assert _ranges(watched) == [(1, turn * len(LINE), (turn + 1) * len(LINE))]
            await stage.acknowledge(watched)
        stage.ahead_ms += int(NEVER * 1000)
        await stage.expired()
    stage.instance.close()


async def test_another_file_that_takes_the_name_in_processed_is_not_followed(spool: Path) -> None:
    """Ours is known by its inode: what somebody else puts in its place is not its tail."""
    stage = build.ClaimStage(spool, watch=NEVER)
    async with stage.running():
        await stage.drop()
        await stage.acknowledge(await stage.shipment())
        destination = await stage.destination()
        destination.rename(destination.with_name("taken.jsonl"))
        destination.write_bytes(LINE * 5)
        while stage.append_watch.next_due() is None:  # noqa: ASYNC110  # nothing tells of it but the tails themselves
            await asyncio.sleep(0.01)
        stage.ahead_ms = 2 * int(NEVER * 1000)
        await stage.expired()
    assert [shipment async for shipment in stage.shipments] == []
    assert destination.read_bytes() == LINE * 5
    stage.instance.close()


async def test_a_writer_that_never_pauses_loses_no_byte_and_doubles_none(spool: Path) -> None:
    """It writes on through the claim and the move, in pieces that end anywhere."""
    rng = random.Random(1)
    content = b"".join(
        json.dumps({"n": number, "x": "y" * rng.randrange(50)}).encode() + b"\n" for number in range(400)
    )
    cuts = sorted(rng.sample(range(1, len(content)), 40))
    stage = build.ClaimStage(spool, max_bytes=2000, watch=NEVER)
    shipments: list[Shipment] = []

    async def write() -> None:
        await stage.drop(content=content[: cuts[0]])
        while not stage.instance.files:  # noqa: ASYNC110  # nothing tells of it but the list itself
            await asyncio.sleep(0)
        with stage.instance.path(1).open("ab", buffering=0) as writer:
            for start, end in zip(cuts, [*cuts[1:], len(content)], strict=True):
                writer.write(content[start:end])
                await asyncio.sleep(rng.random() * 0.05)

    async with stage.running(), asyncio.TaskGroup() as group:
        group.create_task(write())
        while sum(end - start for _, start, end in _ranges(*shipments)) < len(content):
            shipments.append(await stage.shipment())
            await stage.acknowledge(shipments[-1])
    assert _covers(_ranges(*shipments), len(content))
    assert all(start == 0 or content[start - 1 : start] == b"\n" for _, start, _ in _ranges(*shipments))
    stage.instance.close()


async def test_a_claim_survives_the_death_of_its_instance(spool: Path) -> None:
    async with build.ClaimStage(spool).running() as stage:
        await stage.drop()
        shipment = await stage.shipment()
    stage.instance.close()
    adopted = Instance.adopt(spool, "own")
    assert adopted is not None
    with closing(adopted):
        assert adopted.load().planned == (structs.replace(shipment, replay=True),)
        assert adopted.path(1).read_bytes() == LINE
