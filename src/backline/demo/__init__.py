"""The main job: a photo service, run and measured before your eyes (`backline demo`).

Read `service.py` and `tasks.py` first: they are a service and its jobs as a user of Backline
writes them. The rest is the show: `story` plays its acts on the `stage`, `load` sends users,
`report` and `picture` tell what was measured.
"""

from backline.demo.run import main

__all__ = ["main"]
