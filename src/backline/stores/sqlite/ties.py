"""Which tables know of a job, so that its moves may concern them: flags of the column `ties`.

A job without any costs nothing but the look at its zero.
"""

from typing import Final

KEYED: Final = 1
"""It has a unique key."""
LIMITED: Final = 2
"""It has `Limits`: becoming ready, and leaving that, concern gates and paces."""
