"""The settle stage, with real homes: journal first, then the move, and nothing is ever overwritten."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.monitoring.health import Health
from spoolhouse.pipeline.messages import Acknowledged, Complete, Counted, News
from spoolhouse.spool import layout
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState
from spoolhouse.spool.shipment import FileStats, Segment, Shipment
from tests.integration import build
from tests.integration.build import claim, plan, settle

WATCH_MS = 60_000


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def instance(spool: Path) -> Iterator[Instance]:
    with build.instance(spool) as instance:
        yield instance


def _counted(shipment: Shipment, batches: int = 0, **stats: object) -> Counted:
    some = {"lines": 3, "rejected": 1, "rows": {"spans": 2}, **stats}
    whole = {segment.file: FileStats(**some) for segment in shipment.segments}  # type: ignore[arg-type]  # a test's own
    return Counted(shipment=shipment, batches=batches, stats=whole)


def _files(spool: Path) -> dict[str, bytes]:
    """Return all files with their content, those of our state folder left out."""
    found = {str(path.relative_to(spool)): path for path in spool.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(layout.STATE)}


async def test_a_file_moves_when_its_last_batch_is_acknowledged(spool: Path, instance: Instance) -> None:
    settler = build.settler(instance, watch_ms=WATCH_MS)
    shipment = plan(instance, "s", claim(instance))
    await settle(settler, _counted(shipment, 2), Acknowledged(shipment=shipment, batch="s:1", table="spans"))
    assert _files(spool) == {}
    assert instance.journal.load().planned != ()
    await settle(settler, Acknowledged(shipment=shipment, batch="s:2", table="spans"))
    assert _files(spool) == {"span/p/processed/a.jsonl": b"{}\n"}
    (file,) = instance.journal.load().files
    assert (file.state, file.watch_until_ms) == (FileState.FINAL, build.NOW_MS + WATCH_MS)
    assert file.stats == FileStats(lines=3, rejected=1, rows={"spans": 2})
    assert (instance.files, [*instance.settled]) == ({}, [1])
    assert instance.unacknowledged == {}
    assert instance.path(1) == spool / "span/p/processed/a.jsonl"
    assert not settler.wake.is_set()
    assert settler.append_watch.next_due() is not None


async def test_an_acknowledgement_may_come_before_it_is_known_how_many_there_are(
    spool: Path, instance: Instance
) -> None:
    settler, shipment = build.settler(instance), plan(instance, "s", claim(instance))
    await settle(settler, Acknowledged(shipment=shipment, batch="s:1", table="spans"))
    assert _files(spool) == {}
    await settle(settler, _counted(shipment, 1))
    assert list(_files(spool)) == ["span/p/processed/a.jsonl"]


async def test_a_file_in_two_shipments_waits_for_both(spool: Path, instance: Instance) -> None:
    settler, file = build.settler(instance), claim(instance)
    first, second = plan(instance, "s", file), plan(instance, "t", file)
    await settle(settler, _counted(second))
    assert _files(spool) == {}
    await settle(settler, _counted(first))
    assert list(_files(spool)) == ["span/p/processed/a.jsonl"]
    (file,) = instance.journal.load().files
    assert file.stats.lines == 6


async def test_the_files_of_a_shipment_move_together(spool: Path, instance: Instance) -> None:
    progress = build.Display()
    settler = build.settler(instance, progress=progress)
    shipment = plan(instance, "s", *(claim(instance, f"{number}.jsonl") for number in range(20)))
    await settle(settler, _counted(shipment))
    assert len(_files(spool)) == 20
    assert instance.journal.load().planned == ()
    assert (settler.outcome.files, settler.outcome.rejected, settler.outcome.failed) == (20, 20, 0)
    assert settler.outcome.rows == {"spans": 40}
    assert ("span/p/7.jsonl", "span/p/processed/7.jsonl", 3, 2, 1) in progress.settlements


async def test_a_name_that_is_taken_gets_a_number(spool: Path, instance: Instance) -> None:
    processed = spool / "span/p/processed"
    processed.mkdir(parents=True)
    (processed / "a.jsonl").write_bytes(b"old")
    (processed / "a.1.jsonl").symlink_to("nowhere")
    (processed / "a.2.jsonl").mkdir()
    await settle(build.settler(instance), _counted(plan(instance, "s", claim(instance))))
    assert _files(spool) == {"span/p/processed/a.jsonl": b"old", "span/p/processed/a.3.jsonl": b"{}\n"}
    (file,) = instance.journal.load().files
    assert file.target == instance.settled[1].target == "span/p/processed/a.3.jsonl"


async def test_the_longest_name_gets_a_number_too(spool: Path, instance: Instance) -> None:
    name, settler = "ü" * 124 + ".jsonl", build.settler(instance)
    for content in (b"1\n", b"2\n"):
        await settle(settler, _counted(plan(instance, content.decode(), claim(instance, name, content))))
    assert sorted(_files(spool).values()) == [b"1\n", b"2\n"]


async def test_instances_that_settle_equal_names_lose_no_file(spool: Path) -> None:
    """Each looks for a free name, and another one may take it before the rename."""
    instances = [Instance.create(spool, f"own-{number}") for number in range(4)]
    news: dict[str, list[News]] = {instance.id: [] for instance in instances}
    for instance in instances:
        for number in range(15):
            content = f"{instance.id} {number}\n".encode()
            news[instance.id].append(_counted(plan(instance, str(number), claim(instance, f"{number}.jsonl", content))))
    async with asyncio.TaskGroup() as group:
        for instance in instances:
            group.create_task(settle(build.settler(instance), *news[instance.id]))
    expected = {f"own-{name} {number}\n".encode() for name in range(4) for number in range(15)}
    found = _files(spool)
    assert set(found.values()) == expected
    assert len(found) == len(expected)
    for instance in instances:
        for file in instance.journal.load().files:
            assert file.state is FileState.FINAL
            assert found[str(file.target)] == f"{instance.id} {file.place.name.split('.')[0]}\n".encode()
        instance.close()


async def test_a_file_is_deleted_only_if_asked_for_and_is_forgotten(spool: Path, instance: Instance) -> None:
    progress = build.Display()
    settler = build.settler(instance, delete=True, progress=progress)
    shipment = plan(instance, "s", claim(instance))
    await settle(settler, _counted(shipment, 1))
    assert instance.path(1).exists()
    await settle(settler, Acknowledged(shipment=shipment, batch="s:1", table="spans"))
    assert _files(spool) == {}
    assert instance.is_empty()
    assert instance.journal.load().files == ()
    assert progress.settlements == [("span/p/a.jsonl", "", 3, 2, 1)]
    assert settler.append_watch.next_due() is None


@pytest.mark.parametrize("delete", [True, False])
async def test_what_cannot_be_read_goes_to_failed_with_a_reason(delete: bool, spool: Path, instance: Instance) -> None:
    settler = build.settler(instance, delete=delete)
    shipment = plan(instance, "s", claim(instance, "a.jsonl.gz"))
    await settle(settler, _counted(shipment, failure="corrupt archive"))
    found = _files(spool)
    assert found["span/p/failed/a.jsonl.gz"] == b"{}\n"
    reason = found["span/p/failed/a.jsonl.gz.reason.txt"].decode()
    assert "corrupt archive; 2 rows of it landed, 1 lines were rejected" in reason
    assert len(found) == 2
    assert settler.outcome.failed == 1


async def test_failed_files_of_one_name_have_a_reason_each(spool: Path, instance: Instance) -> None:
    settler = build.settler(instance)
    for failure in ("first", "second"):
        await settle(
            settler,
            _counted(plan(instance, failure, claim(instance, content=failure.encode())), failure=failure),
        )
    found = _files(spool)
    for name, failure in (("a.jsonl", "first"), ("a.1.jsonl", "second")):
        assert found[f"span/p/failed/{name}"] == failure.encode()
        assert failure.encode() in found[f"span/p/failed/{name}.reason.txt"]


@pytest.mark.parametrize("letter", ["a", "ü", "字", "\udcff"])
async def test_the_longest_name_has_a_reason_too(letter: str, spool: Path, instance: Instance) -> None:
    name = letter * (245 // len(os.fsencode(letter))) + ".jsonl.gz"
    await settle(build.settler(instance), _counted(plan(instance, "s", claim(instance, name)), failure="corrupt"))
    assert len(_files(spool)) == 2


async def test_a_reason_is_written_through_no_link(spool: Path, instance: Instance) -> None:
    secret = spool / "secret"
    secret.write_bytes(b"kept")
    failed = spool / "span/p/failed"
    failed.mkdir(parents=True)
    (failed / "a.jsonl.reason.txt").symlink_to(secret)
    await settle(build.settler(instance), _counted(plan(instance, "s", claim(instance)), failure="corrupt"))
    assert secret.read_bytes() == b"kept"
    assert (failed / "a.jsonl").exists()


@pytest.mark.parametrize("inside", ["file", "link out of the spool"])
@pytest.mark.parametrize("failure", ["", "corrupt"])
async def test_a_final_folder_that_is_none_harms_no_other_project(
    failure: str, inside: str, spool: Path, instance: Instance
) -> None:
    """A producer can put anything there. The file waits, or finds another way, but does not leave the spool."""
    outside = spool.parent / f"{spool.name}-outside"
    outside.mkdir()
    blocked, other = (
        plan(instance, "s", claim(instance, "blocked.jsonl")),
        plan(instance, "t", claim(instance, "other.jsonl")),
    )
    final = spool / "span/p" / ("failed" if failure else "processed")
    if inside == "file":
        final.write_bytes(b"in the way")
    else:
        final.symlink_to(outside)
    await settle(build.settler(instance), _counted(blocked, failure=failure))
    if inside == "file":
        assert final.read_bytes() == b"in the way"
    assert list(outside.iterdir()) == []
    assert instance.path(1).exists()
    final.unlink()
    await settle(build.settler(instance), _counted(other))
    assert "span/p/processed/other.jsonl" in _files(spool)


async def test_a_file_that_grew_is_not_moved_but_looked_at_again(spool: Path, instance: Instance) -> None:
    settler, shipment = build.settler(instance), plan(instance, "s", claim(instance))
    with instance.path(1).open("ab") as writer:
        writer.write(b"more\n")
    await settle(settler, _counted(shipment))
    assert _files(spool) == {}
    assert settler.append_watch.next_due() is not None
    instance.files[1].planned_to = 8
    await settle(settler, Complete(instance=instance, file=1))
    assert list(_files(spool)) == ["span/p/processed/a.jsonl"]


async def test_a_final_file_is_only_watched(spool: Path, instance: Instance) -> None:
    settler = build.settler(instance)
    await settle(settler, _counted(plan(instance, "s", claim(instance))))
    before = _files(spool)
    await settle(settler, Complete(instance=instance, file=1))
    assert _files(spool) == before
    assert settler.outcome.files == 1


async def test_an_empty_file_that_was_never_journalled_is_moved(spool: Path, instance: Instance) -> None:
    number = claim(instance, content=b"").number
    await settle(build.settler(instance), Complete(instance=instance, file=number))
    assert _files(spool) == {"span/p/processed/a.jsonl": b""}


async def test_a_claimed_file_that_somebody_took_away_is_forgotten(spool: Path, instance: Instance) -> None:
    settler, shipment = build.settler(instance), plan(instance, "s", claim(instance))
    instance.path(1).unlink()
    await settle(settler, _counted(shipment, failure="gone"))
    assert _files(spool) == {}
    assert instance.is_empty()
    assert instance.journal.load().files == ()


async def test_without_a_watch_a_settled_file_is_forgotten_at_once(spool: Path, instance: Instance) -> None:
    settler = build.settler(instance, watch_ms=0)
    await settle(settler, _counted(plan(instance, "s", claim(instance))))
    assert list(_files(spool)) == ["span/p/processed/a.jsonl"]
    assert instance.is_empty()
    assert instance.journal.load().files == ()
    assert settler.append_watch.next_due() is None


async def test_a_name_with_any_bytes_settles(spool: Path, instance: Instance) -> None:
    name = os.fsdecode(b"\xff\n'.jsonl")
    progress = build.Display()
    await settle(build.settler(instance, progress=progress), _counted(plan(instance, "s", claim(instance, name))))
    assert os.listdir(spool / "span/p/processed") == [name]  # noqa: PTH208  # names are enough
    assert progress.settlements[0][1] == "span/p/processed/\\xff\n'.jsonl"


async def test_a_cancelled_move_is_finished_first(spool: Path, instance: Instance) -> None:
    """Whenever it comes: each file is where the journal says."""
    progress = build.Display()
    settler = build.settler(instance, progress=progress)
    shipments = [
        plan(instance, str(turn), *(claim(instance, f"{turn}-{number}.jsonl") for number in range(20)))
        for turn in range(5)
    ]
    task = asyncio.ensure_future(settle(settler, *(_counted(shipment) for shipment in shipments)))
    await progress.first.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    states = [file.state for file in instance.journal.load().files]
    assert 20 <= states.count(FileState.FINAL) <= 100
    assert states.count(FileState.MOVING) == 0
    for file in instance.journal.load().files:
        assert (instance.claimed / file.place.relative).exists() == (file.state is not FileState.FINAL)
        assert (file.target is not None and (spool / file.target).exists()) == (file.state is FileState.FINAL)


PLACES = [
    *(f"journal.{step}" for step in ("acknowledge", "moving", "moved", "forget")),
    "files.sync_folder",
    "files.make_opened",
    "settle.before_move",
    "files.move",
    "settle.moved",
    "settle.synced",
    "settle.recorded",
]


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EROFS"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_disk_that_refuses_is_waited_for(
    place: str, error: str, spool: Path, instance: Instance, arm: Callable[[str], None]
) -> None:
    """Wherever it strikes: the file ends once, the journal knows it, and the trouble is over."""
    shipment = plan(instance, "s", claim(instance), claim(instance, "b.jsonl", b"2\n"))
    health = Health()
    settler = build.settler(instance, watch_ms=0, health=health, by=build.retrying(0.001, 0.001))
    arm(f"{place}={error}")
    with capture_logs() as logs:
        await build.settle_all(settler, 2, _counted(shipment))
    assert [entry["log_level"] for entry in logs if entry["event"] == "disk_unavailable"] == ["error"]
    assert _files(spool) == {"span/p/processed/a.jsonl": b"{}\n", "span/p/processed/b.jsonl": b"2\n"}
    assert instance.is_empty()
    assert instance.journal.load().files == ()
    assert settler.stuck == {}
    assert health.troubles == {}
    assert settler.outcome.files == 2


async def test_a_new_folder_whose_name_could_not_be_synced_is_synced_before_files_move_to_it(
    spool: Path, instance: Instance, act_at: Callable[[str, Callable[[], object]], None]
) -> None:
    present: list[str] = []
    shipment = plan(instance, "s", claim(instance))
    settler = build.settler(instance, by=build.retrying(0.001, 0.001))
    act_at("files.sync_folder=EIO,files.sync_folder", lambda: present.extend(_files(spool)))
    await settle(settler, _counted(shipment))
    assert (present, [*_files(spool)]) == ([], ["span/p/processed/a.jsonl"])


async def test_the_name_of_a_folder_that_a_dead_process_made_is_synced(
    spool: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spool / "span/p/processed").mkdir(parents=True)
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    await settle(build.settler(instance), _counted(plan(instance, "s", claim(instance))))
    assert {str(spool), f"{spool}/span", f"{spool}/span/p"} <= set(synced)


async def test_a_full_disk_is_said_once_for_all_files(
    spool: Path, instance: Instance, arm: Callable[[str], None]
) -> None:
    shipment = plan(instance, "s", *(claim(instance, f"{number}.jsonl") for number in range(30)))
    health = Health()
    settler = build.settler(instance, health=health, by=build.retrying(3600, 3600))
    arm("settle.before_move@*=ENOSPC")
    with capture_logs() as logs:
        await settle(settler, _counted(shipment))
    assert [entry["event"] for entry in logs] == ["disk_unavailable"]
    assert str(spool / "span/p/processed") in logs[0]["error"]
    assert len(settler.stuck) == 30
    assert not health.writable.is_set()


async def test_a_file_that_its_folder_does_not_take_is_told_ever_less_often(spool: Path, instance: Instance) -> None:
    shipment = plan(instance, "s", claim(instance))
    (spool / "span/p/processed").write_bytes(b"in the way")
    settler = build.settler(instance, by=build.retrying(3600, 3600))
    with capture_logs() as logs:
        await settle(settler, _counted(shipment))
        await settle(settler, *[Complete(instance=instance, file=1)] * 9)
    assert [entry["event"] for entry in logs] == ["file_not_moved"] * 4
    assert settler.stuck["own", 1].attempts == 10
    settler.stuck["own", 1].due = 0.0
    (spool / "span/p/processed").unlink()
    await build.settle_all(settler, 1)
    assert list(_files(spool)) == ["span/p/processed/a.jsonl"]


async def test_a_stuck_file_is_tried_again_although_there_is_always_news(spool: Path, instance: Instance) -> None:
    first, other = (
        plan(instance, "s", claim(instance)),
        plan(instance, "t", claim(instance, "b.jsonl")),
    )
    (spool / "span/p/processed").write_bytes(b"in the way")
    settler = build.settler(instance, by=build.retrying(1e-6, 1e-6))
    await settle(settler, _counted(first))
    assert len(settler.stuck) == 1
    (spool / "span/p/processed").unlink()
    await settle(settler, _counted(other))  # one round with news, and none without
    assert set(_files(spool)) == {"span/p/processed/a.jsonl", "span/p/processed/b.jsonl"}
    assert settler.stuck == {}


async def test_the_target_folder_may_go_away_between_look_and_rename(
    spool: Path, instance: Instance, act_at: Callable[[str, Callable[[], object]], None]
) -> None:
    shipment, processed = plan(instance, "s", claim(instance)), spool / "span/p/processed"
    act_at("files.move", lambda: shutil.rmtree(spool / "span"))
    await settle(build.settler(instance), _counted(shipment))
    assert (processed / "a.jsonl").read_bytes() == b"{}\n"
    assert [file.state for file in instance.journal.load().files] == [FileState.FINAL]


async def test_a_target_folder_that_becomes_a_link_leads_nowhere(
    spool: Path,
    instance: Instance,
    act_at: Callable[[str, Callable[[], object]], None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What was opened is where the file goes: whoever swaps the name for a link gets nothing out of the spool."""
    outside = tmp_path_factory.mktemp("outside")
    shipment, project = plan(instance, "s", claim(instance)), spool / "span/p"

    def swap() -> None:
        (project / "processed").rename(project / "aside")
        (project / "processed").symlink_to(outside)

    act_at("files.move", swap)
    await settle(build.settler(instance), _counted(shipment))
    assert list(outside.iterdir()) == []
    assert (project / "aside/a.jsonl").read_bytes() == b"{}\n"


async def test_bytes_that_come_before_a_deletion_are_shipped(
    spool: Path, instance: Instance, act_at: Callable[[str, Callable[[], object]], None]
) -> None:
    """Between the last look and the unlink: the file is first set aside, and looked at once more."""
    settler, shipment = build.settler(instance, delete=True), plan(instance, "s", claim(instance))
    writer = instance.path(1).open("ab", buffering=0)
    act_at("files.rename", lambda: writer.write(b"more\n"))
    await settle(settler, _counted(shipment))
    assert instance.path(1).read_bytes() == b"{}\nmore\n"
    assert instance.path(1).parent.name == "leaving"
    assert settler.append_watch.next_due() is not None
    writer.close()
    more = build.shipment("t", Segment(file=1, start=3, end=8))
    instance.files[1].planned_to, instance.unacknowledged = 8, {1: 1}
    instance.journal.plan([instance.files[1]], [more])
    await settle(settler, _counted(more))
    assert instance.is_empty()
    assert settler.outcome.files == 1


async def test_a_folder_on_another_disk_is_refused_and_said(
    spool: Path, instance: Instance, arm: Callable[[str], None]
) -> None:
    """Nothing is copied: the file stays claimed until `processed/` is where a rename leads to."""
    shipment = plan(instance, "s", claim(instance))
    arm("files.move@1=EXDEV")
    settler = build.settler(instance, by=build.retrying(0.2, 0.2))
    with capture_logs() as logs:
        await settle(settler, _counted(shipment))
    (said,) = [entry for entry in logs if entry["event"] == "file_not_moved"]
    assert said["error"] == "span/p/processed is on another disk than the spool"
    assert said["hint"] == "move processed/ to the spool's file system"
    assert settler.stuck["own", 1].reason == said["error"]
    assert _files(spool) == {}
    assert instance.path(1).read_bytes() == b"{}\n"
    await build.settle_all(settler, 1)
    assert _files(spool) == {"span/p/processed/a.jsonl": b"{}\n"}
