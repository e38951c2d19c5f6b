"""What bench/web.py measures."""
