"""`python -m backline.demo` is `backline demo` with its defaults."""

import sys
from pathlib import Path

from backline.demo import main

if __name__ == "__main__":
    sys.exit(main(None, Path("demo-output"), None, sys.stdout.isatty()))
