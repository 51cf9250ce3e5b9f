"""What holds for every test."""

import signal

# Under `nohup` a run inherits that SIGHUP is ignored, and so would all that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
