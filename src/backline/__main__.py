"""`python -m backline` is `backline`."""

from backline.cli import main

if __name__ == "__main__":
    main(prog_name="backline")
