"""Two faults at once: what makes a file end early, for a while or for good, and a crash at each later place.

What is in a batch must not depend on which process has read it: half of it, sent under the id of the whole, would be
taken for the whole by the next one.
"""

import os
import signal
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from spoolhouse.failpoints import VARIABLE
from tests.faults.life import LIFE, LONG, QUICK, at, parts, recover, wait_until
from tests.faults.oracle import AnyOracle, Dropped
from tests.process.daemon import Daemon, command

CHUNK = 64 << 10
"""What is read at once: `spool.max_line`, as these tests set it."""
WHOLE = 2 * CHUNK
"""Up to here the file can always be read."""
CUT = WHOLE + 1000
ROUNDS = {"one round": {}, "several rounds": {"SPOOLHOUSE_BATCH__MAX_ROWS": "500"}}
"""The file and its neighbours are one shipment, and come to one or several batches of each table."""


@dataclass(frozen=True, kw_only=True)
class Shortens:
    """What makes a file end early, or look as if it did."""

    traps: str = ""
    lasts: bool = True
    packed: bool = False
    readable: int | None = None
    """Up to which byte of its content it can be read, where that is for good."""

    def env(self, rounds: str) -> dict[str, str]:
        """Return the settings that it is tried under."""
        return QUICK | ROUNDS[rounds] | {"SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "0.3" if self.lasts else "60"}


SHORTENS = {
    "EIO that lasts": Shortens(traps=f"read.chunk@+{WHOLE}=EIO", readable=WHOLE),
    "EIO that passes": Shortens(traps="read.chunk@3x4=EIO,read.count@1x2=EIO", lasts=False),
    "EMFILE": Shortens(
        traps="read.open@1x2=EMFILE,read.chunk@3x3=EMFILE,claim.check_end@1x2=EMFILE,claim.find_lines@1x2=EMFILE",
        lasts=False,
    ),
    "truncated": Shortens(traps="read.chunk@3=wait:{here}", readable=CUT),
    "corrupt gzip": Shortens(packed=True, readable=CUT),
}
EARLY = ("journal.shorten", "decode.shortened")
"""Only what ends early for good comes by there."""
LATER = (
    *LIFE[LIFE.index("decode.step") :], "decode.batch", "decode.read", "rejects.rename", "decode.rejected",
    "native.block_sent", "ledger.before_write", "journal.acknowledge", "journal.moving",
    "files.move", "journal.moved",
)  # fmt: skip
SOME = (
    ("EIO that lasts", ("journal.shorten", "decode.shortened", "insert.answered", "settle.acknowledged")),
    ("EIO that passes", ("insert.sending", "settle.complete")),
    ("EMFILE", ("insert.answered",)),
    ("truncated", ("decode.shortened", "native.all_sent")),
    ("corrupt gzip", ("decode.shortened", "settle.complete")),
)


def pairs() -> list[tuple[str, Sequence[str], str, bool]]:
    """Return what is tried: each fault, the places of the crash, how many rounds, and whether the disk is well then."""
    if not LONG:
        return [(name, places, "several rounds", False) for name, places in SOME]
    places = {name: (*(EARLY if fault.lasts else ()), *LATER) for name, fault in SHORTENS.items()}
    tried = [(name, some, "several rounds", False) for name in SHORTENS for some in parts(places[name], 4)]
    return [*tried, *(("EIO that lasts", some, "one round", True) for some in parts(places["EIO that lasts"], 4))]


def drop(oracle: AnyOracle, fault: Shortens) -> tuple[Dropped, bytes]:
    """Drop a file that is long enough, between two short ones; return it, and its content."""
    oracle.drop(5)
    path = oracle.drop(1500, logs=60, bad=3)
    victim = oracle.files[-1]
    content = victim.content
    if fault.packed:
        path.unlink()
        target = path.with_name(f"{path.name}.gz")
        victim.path, victim.content = target, damaged(content)
        oracle.rename(path, target)
        target.write_bytes(victim.content)
    oracle.drop(5, logs=1)
    return victim, content


def damaged(content: bytes) -> bytes:
    """Return an archive that gives `content` up to `CUT`, and is rubbish from there on."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(content[:CUT]) + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 1000


def crash(oracle: AnyOracle, fault: Shortens, place: str, victim: Dropped, env: dict[str, str]) -> None:
    """Run a daemon into the one fault, and then into the other."""
    here = oracle.spool.parent / "here"
    traps = ",".join(filter(None, [fault.traps.format(here=here), f"{at(oracle, place)}=kill"]))
    with Daemon(oracle.store.native_url, oracle.spool, env={**env, VARIABLE: traps}) as daemon:
        if "wait" in fault.traps:
            wait_until(lambda: here.exists() or daemon.has_ended())
            [claimed] = [path for path in oracle.claimed() if path.name == victim.path.name]
            os.truncate(claimed, CUT)
            victim.content = victim.content[:CUT]
            here.unlink(missing_ok=True)
        assert daemon.wait(60) == -signal.SIGKILL, f"{place}: {daemon.told()}"


def went_to(oracle: AnyOracle, victim: Dropped) -> str:
    """Return the folder that the file has ended in."""
    [found] = oracle.spool.glob(f"span/*/*/{victim.path.name}")
    return found.parent.name


@pytest.mark.parametrize(
    ("name", "places", "rounds", "healed"),
    pairs(),
    ids=lambda some: some[0] if isinstance(some, tuple) else str(some),
)
def test_a_file_ends_early_and_the_daemon_dies(
    oracle: AnyOracle, name: str, places: Sequence[str], rounds: str, healed: bool
) -> None:
    """The next process meets the same fault, or none (`healed`): either way each line that can be read lands once."""
    fault = SHORTENS[name]
    env = fault.env(rounds)
    for place in places:
        victim, content = drop(oracle, fault)
        crash(oracle, fault, place, victim, env)
        still = {} if healed or "wait" in fault.traps else {VARIABLE: fault.traps}
        recover(oracle, **env, **still)
        recover(oracle, **env)
        if (folder := went_to(oracle, victim)) == "failed":
            assert fault.lasts, f"{place}: nothing is wrong with the file"
            oracle.lose(victim, content, content.rfind(b"\n", 0, fault.readable) + 1)
        else:
            assert folder == "processed"
            assert not fault.lasts or healed, f"{place}: it could not be read to its end"
    oracle.check()


@pytest.mark.parametrize(
    "place", ["insert.answered@3", "insert.acknowledged@2", "settle.complete", "settle.acknowledged"]
)
@pytest.mark.parametrize("deed", ["EIO that lasts", "truncated"] if LONG else ["EIO that lasts"])
def test_the_daemon_dies_and_then_a_file_ends_early(oracle: AnyOracle, deed: str, place: str) -> None:
    """Some batches have landed whole: what is left of the file, and all of the next one, is not taken for theirs."""
    fault = SHORTENS[deed]
    env = fault.env("several rounds")
    victim, content = drop(oracle, fault)
    for _ in range(3):
        oracle.drop(300, logs=10)  # each short enough to be read where the long one cannot
    with Daemon(oracle.store.native_url, oracle.spool, env={**env, VARIABLE: f"{at(oracle, place)}=kill"}) as daemon:
        assert daemon.wait(60) == -signal.SIGKILL, daemon.told()
    if deed == "truncated":
        for claimed in oracle.claimed():
            if claimed.name == victim.path.name:
                os.truncate(claimed, CUT)
    recover(oracle, **env, **({} if deed == "truncated" else {VARIABLE: fault.traps}))
    recover(oracle, **env)
    oracle.check_rows_but(content[content.rfind(b"\n", 0, fault.readable) + 1 :])


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize(
    "place", ["insert.answered", "insert.answered@2", "settle.complete"] if LONG else ["insert.answered"]
)
def test_the_daemon_dies_a_file_cannot_be_read_and_then_it_can(oracle: AnyOracle, place: str, packed: bool) -> None:
    """What has landed is not landed again, neither by the next run nor by a retry of what failed meanwhile."""
    env = QUICK | {"SPOOLHOUSE_SPOOL__READ_ERROR_WAIT": "0.3"}
    oracle.drop(5)
    oracle.drop(1500, logs=60, bad=3, packed=packed)
    oracle.drop(5, logs=1)
    with Daemon(oracle.store.native_url, oracle.spool, env={**env, VARIABLE: f"{at(oracle, place)}=kill"}) as daemon:
        assert daemon.wait(60) == -signal.SIGKILL, daemon.told()
    recover(oracle, **env, **{VARIABLE: "read.chunk@*=EIO"})
    where = ("--file-storage-path", str(oracle.spool), "--base-path", "")
    done = command("retry", "--all", *where, "--clickhouse-url", oracle.store.http_url)
    assert done.returncode == 0, done.stdout + done.stderr
    recover(oracle, **env)
    oracle.check()
