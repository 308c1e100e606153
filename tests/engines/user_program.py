"""A process that uses a data folder: it says so on its output and stays until its input ends.

Arguments: the data folder; `--uid` and `--gid` to become somebody else first; `--fork` to have a child that
ends before this process says anything.
"""

import argparse
import os
import sys
from pathlib import Path

from holdfast.engines import EmbeddedEngines

parser = argparse.ArgumentParser()
parser.add_argument("home", type=Path)
parser.add_argument("--uid", type=int)
parser.add_argument("--gid", type=int)
parser.add_argument("--fork", action="store_true")
arguments = parser.parse_args()

# Only now, as the Python that imports all this may live in a folder that only root may enter.
if arguments.uid is not None:
    os.setgroups([])
    os.setgid(arguments.gid)
    os.setuid(arguments.uid)
engines = EmbeddedEngines(arguments.home)
engines.start()
if arguments.fork:
    if not os.fork():
        engines.stop()
        sys.exit()  # runs what a normal exit runs
    os.wait()
print("started", flush=True)
sys.stdin.read()
