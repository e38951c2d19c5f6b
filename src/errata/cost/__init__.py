"""What a training run will cost: memory, hours and money, each with a low and a high."""
