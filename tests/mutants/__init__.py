"""Every guard and every fence of the product, each taken away by itself: some test must turn red.

`store`, `checkpoints`, `broker`, `columns`, `sessions`, `ties`, `doors`, `payload` and `agent` hold the tables; `run` applies them, one at a time, to a copy of the tree
(`make mutants`). A line of a table is repaired by finding the guard again in the code: its text must stand in its file exactly once, and a test of the ordinary run
sees to that.
"""

from tests.mutants.agent import MUTANTS as AGENT
from tests.mutants.broker import MUTANTS as BROKER
from tests.mutants.checkpoints import MUTANTS as CHECKPOINTS
from tests.mutants.columns import MUTANTS as COLUMNS
from tests.mutants.doors import MUTANTS as DOORS
from tests.mutants.payload import MUTANTS as PAYLOAD
from tests.mutants.sessions import MUTANTS as SESSIONS
from tests.mutants.store import MUTANTS as STORE
from tests.mutants.ties import MUTANTS as TIES

MUTANTS = (*STORE, *CHECKPOINTS, *BROKER, *COLUMNS, *SESSIONS, *TIES, *DOORS, *PAYLOAD, *AGENT)
