"""What else a job's moves may concern: flags of the column `ties`.

A job without any costs nothing but the look at its zero.
"""

from typing import Final

KEYED: Final = 1
"""It has a unique key."""
LIMITED: Final = 2
"""It has `Limits`: becoming ready, and leaving that, concern gates and paces."""
STEPPED: Final = 4
"""It has recorded steps."""
ASLEEP: Final = 8
"""It is scheduled, and counts as asleep: its queue's depth is without it."""
FOLLOWED: Final = 16
"""Its end enqueues others."""
PARENT: Final = 32
"""Jobs may wait for its end."""
MEMBER: Final = 64
"""It counts in a group."""
CHILD: Final = 128
"""It waits, or waited, for others."""
FAIR: Final = 256
"""It gets a turn when it becomes ready."""
