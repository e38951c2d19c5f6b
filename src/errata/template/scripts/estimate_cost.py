"""Memory, hours and money of a training run, with a low and a high: `errata cost`."""
import sys

from errata.cli import main

sys.exit(main(["cost", *sys.argv[1:]]))
