"""`lavaflow data announce`: tells Prefect that new data is here, which starts the deployment `on-new-data`.

Only a person or the system that delivers data calls it. No stage of a run does, or a run would start the next.
"""

import asyncio

from prefect.events import Event
from prefect.events.clients import get_events_client

from flows.server import running_api

EVENT = "dataset.updated"
RESOURCE = "lavaflow.dataset"


def announce(name: str, recipe: str) -> str:
    """Emit the event `dataset.updated` of the dataset `name` and wait until the server has it.

    Args:
        name: of the recipe.
        recipe: path of its file, which the run that this starts is given.

    Returns:
        The event's id.

    Raises:
        LavaflowError: no Prefect server answers.
    """
    with running_api():
        event = Event(event=EVENT, resource={"prefect.resource.id": f"{RESOURCE}.{name}"}, payload={"recipe": recipe})
        asyncio.run(_send(event))
    return str(event.id)


async def _send(event: Event) -> None:
    async with get_events_client() as client:
        await client.emit(event)
