"""Somebody registers: `python examples/signup`."""

import asyncio
import os
import tempfile
from email import message_from_bytes
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from backline import App


class Sink:
    """A mail server that keeps what it gets."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.subjects.append(str(message_from_bytes(envelope.content)["Subject"]))
        return "250 OK"


async def main(folder: Path) -> None:
    sink = Sink()
    loop = asyncio.get_running_loop()
    mail = await loop.create_server(lambda: SMTP(sink, hostname="localhost"), "127.0.0.1", 0)
    os.environ["SMTP_PORT"] = str(mail.sockets[0].getsockname()[1])
    os.environ["BACKLINE_URL"] = f"sqlite:///{folder}/jobs.db"

    from subscribers import app  # as `backline worker subscribers:app` would

    user = {"name": "Ann", "mail": "ann@example.com"}
    async with mail, app.worker(), App() as shop:
        event = await shop.apublish("user.registered", user, id="user 42 registered", key="42")
        print(f"{event.id}: {len(event.jobs)} jobs")
        again = await shop.apublish("user.registered", user, id="user 42 registered", key="42")
        print(f"once more: {'added' if again.added else 'nothing is added'}")
        for task, job in sorted(event.jobs.items()):
            print(f"{task}: {await job.aresult(timeout=30)}")
        print(f"the mail server got: {', '.join(sink.subjects)}")
    await app.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
