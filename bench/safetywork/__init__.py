"""What bench/safety.py measures with; shares no code with what it measures."""
