"""`accelerate launch sft.py --model llama-7b --dataset data/sft.jsonl …`, as the chapter writes it."""
import sys

from errata.cli import start

start(["sft", *sys.argv[1:]])
