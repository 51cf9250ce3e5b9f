"""What Backline reaches, measured beside a peer or the limit of its parts in the same run.

`make bench`, or `python -m bench NAME...`. Machines are noisy and differ; ratios last. So
every figure is taken several times in turn with what it is compared to, and the medians are
set against each other. Nothing here is a test: a slow machine fails no build.
"""
