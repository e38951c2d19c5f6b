"""Measured candidates become releases: the gate, the staged rollout, the monitor, the way back."""
