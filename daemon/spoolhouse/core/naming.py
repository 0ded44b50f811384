"""How our tables are told apart in a database, and in a cluster."""

from dataclasses import dataclass

LOCAL = "local_"
"""In a cluster it stands after the prefix in the names of the tables that hold a shard's own rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """What inserts have to know of a cluster."""

    cluster: str
    prefix: str
    """What the names of the Distributed tables begin with: there a batch is looked for on all shards, because who had
    it before, and died, may have sent it to another one."""
    through: bool
    """Inserts go through them, too. What is found of a batch then says nothing of the other shards, and each shard
    knows the token: a batch in doubt is sent again, as a whole, and no more is asked."""
