"""The training rooms. Torch is imported here, in serve/, tiny/ and evaluate/generate.py only."""

import warnings

# peft 0.21 asks transformers 5.23 under the old name; nothing a user could do about it.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
