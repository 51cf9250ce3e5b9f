"""Lets the users of a plan loose, in a process of their own.

python -m backline.demo.crowd '{"port": 8000, "path": "/photos", ...}'
"""

import asyncio
import sys

import msgspec

from backline.demo.load import Crowd, Plan


def main() -> None:
    """Carry out the plan given as JSON on the command line; print the outcome as JSON."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(Crowd(plan).run())))


if __name__ == "__main__":
    main()
