"""An order in three steps. Whatever dies in between, the card is charged once."""

import payments

from backline import App, JobContext, current_step

app = App()


async def charge(amount: int) -> str:
    return payments.charge(current_step().key, amount)


def ship(order: int) -> str:
    return f"parcel of order {order}"


@app.task
async def handle(job: JobContext, order: int, amount: int) -> str:
    receipt = await job.step("charge", charge, amount)
    await job.sleep("1s", name="cooling-off")  # days, in a real shop
    parcel = await job.step("ship", ship, order)
    return f"{parcel}, paid by {receipt}"
