"""The training rooms. Torch is imported here, in serve/, tiny/ and evaluate/generate.py only."""

import logging
import warnings

# peft 0.21 asks transformers 5.23 under the old name; nothing a user could do about it.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
# peft imports it where it is installed, and it looks on the hub for a kernel it can do without.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
