"""What `bench/cost.py` measures."""
