"""Who wants to know that somebody registered. Nobody who publishes it imports this."""

import os
import smtplib
from dataclasses import dataclass
from email.message import EmailMessage

from backline import App, Event

app = App()


@dataclass
class Registered:
    """The payload, as far as anybody here reads it."""

    name: str
    mail: str


@app.on("user.registered", queue="mail", max_attempts=10)
def welcome(user: Registered) -> str:
    """A mail; the server may be down for a while."""
    message = EmailMessage()
    message["From"] = "hello@example.com"
    message["To"] = user.mail
    message["Subject"] = f"Welcome, {user.name}!"
    message.set_content("Good to have you here.")
    with smtplib.SMTP("127.0.0.1", int(os.environ["SMTP_PORT"]), timeout=10) as server:
        server.send_message(message)
    return f"sent to {user.mail}"


@app.on("user.#", queue="analytics")
async def count(event: Event[dict[str, str]]) -> str:
    """Whatever happens to users. Who counts by `event.id` counts a retried job once."""
    return f"counted {event.name} ({event.id})"


@app.on("user.registered", "user.renamed", queue="crm")
async def contact(event: Event[Registered]) -> str:
    """The contact that sales people see."""
    return f"contact {event.key} is {event.payload.name} <{event.payload.mail}>"
