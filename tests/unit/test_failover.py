"""Which of several servers work goes to."""

import pytest

from spoolhouse.store.clickhouse.failover import HostSelector, name_of, urls_of
from spoolhouse.store.clickhouse.replica_check import ReplicaState, disagreement, uncounted


def roster(*names: str) -> HostSelector:
    return HostSelector(names, first=1.0, cap=8.0)


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("clickhouse://a:9000/db", ["clickhouse://a:9000/db"]),
        ("clickhouse://a:9000,b:9001/db", ["clickhouse://a:9000/db", "clickhouse://b:9001/db"]),
        ("https://me:p,ss@a,[::1]:8443", ["https://me:p,ss@a", "https://me:p,ss@[::1]:8443"]),
        ("chdb:///a,b", ["chdb:///a,b"]),
        ("nothing", ["nothing"]),
    ],
)
def test_a_url_for_each_host(url: str, urls: list[str]) -> None:
    assert list(urls_of(url)) == urls


def test_a_name_is_host_and_port() -> None:
    assert name_of("clickhouse://me:secret@a:9000/db") == "a:9000"
    assert name_of("https://[::1]:8443") == "[::1]:8443"


def test_work_stays_where_it_is() -> None:
    hosts = roster("a", "b", "c")
    assert hosts.choose(0.0) == "a"
    assert hosts.failed("a", 0.0, 1.0)
    assert not hosts.failed("a", 0.0, 1.0), "it is said once"
    assert hosts.choose(0.0) == "b"
    assert hosts.answered("a")
    assert not hosts.answered("a")
    assert hosts.choose(1000.0) == "b", "it moves only when it has to"
    hosts.failed("b", 1000.0, 1.0)
    assert hosts.choose(1000.0) == "c", "the next one in turn"


def test_one_that_was_away_is_tried_when_nobody_answers_and_it_is_due() -> None:
    hosts = roster("a", "b")
    hosts.failed("a", 0.0, 1.0)  # due at 1
    hosts.failed("b", 0.0, 1.0)
    hosts.failed("b", 0.0, 1.0)  # due at 2
    assert hosts.choose(0.5) == "a", "none is due: the first that will be"
    hosts.failed("a", 1.0, 1.0)
    hosts.failed("a", 1.0, 1.0)  # due at 5
    assert hosts.choose(2.0) == "b"
    assert hosts.choose(6.0) == "b"


@pytest.mark.parametrize(
    ("away", "split"), [((), False), (("a",), True), (("a", "b"), False)], ids=["none", "one", "both"]
)
def test_it_is_known_whether_some_answer_and_some_do_not(away: tuple[str, ...], *, split: bool) -> None:
    hosts = roster("a", "b")
    for name in away:
        hosts.failed(name, 0.0, 0.5)
    assert hosts.is_split == split


TABLES = ("spans",)


def standing(replica: str, *known: str, path: str = "/t") -> dict[str, ReplicaState]:
    return {
        "spans": ReplicaState(
            engine="ReplicatedMergeTree", path=path, replica=replica, known=frozenset({replica, *known})
        )
    }


def test_replicas_of_one_table_agree() -> None:
    assert disagreement("b", standing("2", "1"), {"a": standing("1")}, TABLES) == ""
    assert disagreement("a", standing("1"), {}, TABLES) == ""


def test_what_feeds_a_rollup_is_on_each_or_on_none() -> None:
    feed = {"feed": ReplicaState(engine="MaterializedView")}
    assert uncounted("b", {}, {"a": {}}, ["feed"]) == ""
    assert uncounted("b", feed, {"a": feed}, ["feed"]) == ""
    assert uncounted("b", feed, {"a": {}}, ["feed"]) == "", "the other one is to blame"
    said = uncounted("b", {}, {"a": feed}, ["feed"])
    assert said == "feed is not there on b, as it is on a: what it takes would not be counted"


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({}, "spans is not there on b"),
        ({"spans": ReplicaState(engine="MergeTree")}, "spans on b does not replicate (MergeTree)"),
        (standing("2", "1", path="/u"), "spans is at /u in Keeper on b, and at /t on a"),
        (standing("1"), "spans is one replica, 1, on b and on a"),
        (standing("2"), "spans on b does not know the replica on a: they have another Keeper"),
    ],
)
def test_what_is_no_replica_is_said(seen: dict[str, ReplicaState], why: str) -> None:
    said = disagreement("b", seen, {"a": standing("1", "2")}, TABLES)
    assert said == why
