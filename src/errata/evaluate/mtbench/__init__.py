"""Two-turn questions, graded by a judge whose errors are measured, or mechanically."""
