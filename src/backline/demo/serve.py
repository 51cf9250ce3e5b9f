"""Runs the service, with its inline twin, on a socket that the story has bound.

python -m backline.demo.serve FD
"""

import os
import socket
import sys

import uvicorn
from starlette.routing import Route

from backline.demo import inline
from backline.demo.service import web
from backline.supervisor.linux import die_with_parent


def main() -> None:
    """Serve until SIGTERM."""
    if not die_with_parent(os.getppid()):
        sys.exit(1)
    web.routes.append(Route("/inline/photos", inline.share, methods=["POST"]))
    config = uvicorn.Config(web, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
