"""What is said of queues, by operators and by the code."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from backline.job import Micros, Pacing
from backline.limits import repaced
from backline.store import Hint, QueueSettings
from backline.stores.declaring import declare
from backline.stores.sqlite.statements import statement
from backline.stores.sqlite.transaction import QueueRow, Transaction, dumps

_CONFIGURE: Final = statement("configure")
_DECLARED: Final = statement("declared")

_read_declared: Final = msgspec.json.Decoder(QueueSettings).decode


def configure(tx: Transaction, settings: Sequence[QueueSettings], *, declared: bool) -> None:
    """See `backline.store.Store.configure`."""
    queues = tx.queues({wanted.queue for wanted in settings}, make=True)
    for wanted in settings:
        news, known = declare(wanted, _declared(tx, wanted.queue)) if declared else (wanted, None)
        arrival = _arrival(tx, queues[wanted.queue], news)
        tx.db.run(_CONFIGURE, _settings(news, known) | {"arrival": arrival})
    tx.hints.add(Hint.WORK)  # a queue may have been resumed


def _arrival(tx: Transaction, queue: QueueRow, news: QueueSettings) -> Micros:
    """What starts have used up, once another rate holds."""
    if queue.pacing is None or not isinstance(news.pacing, Pacing):
        return queue.arrival
    return repaced(queue.pacing, news.pacing, queue.arrival, tx.tick)


def _settings(news: QueueSettings, known: QueueSettings | None) -> dict[str, object]:
    """Settings as parameters: those that are UNSET stay as they are."""
    pacing = news.pacing
    cells = {
        "max_depth": news.max_depth,
        "paused": news.paused,
        "concurrency": news.concurrency,
        "interval": pacing.interval if isinstance(pacing, Pacing) else pacing,
        "burst": pacing.burst if isinstance(pacing, Pacing) else pacing,
        "weights": UNSET if news.weights is UNSET else dumps(news.weights),
        "ageing": news.ageing,
    }
    given: dict[str, object] = {
        name: None if cell is UNSET else cell for name, cell in cells.items()
    }
    return {
        **given,
        **{f"set_{name}": cell is not UNSET for name, cell in cells.items()},
        "queue": news.queue,
        "declared": None if known is None else msgspec.json.encode(known).decode(),
    }


def _declared(tx: Transaction, queue: str) -> QueueSettings | None:
    try:
        return _read_declared(tx.db.text(_DECLARED, {"queue": queue}))
    except msgspec.MsgspecError:  # nothing yet, or damaged: what is declared now counts
        return None
