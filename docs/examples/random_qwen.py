"""A model of Qwen's shape with random weights and its own tokenizer; it knows nothing.

python random_qwen.py FOLDER
"""

import sys
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config
from transformers.utils import logging

FOLDER, ROWS = Path(sys.argv[1]), Path(__file__).with_name("failures-30.jsonl")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

words = ByteLevelBPETokenizer()
words.train(
    [str(ROWS)],
    vocab_size=1000,
    show_progress=False,
    special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
)
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=words._tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
    additional_special_tokens=["<|im_start|>"], chat_template=TEMPLATE,
)  # fmt: skip
torch.manual_seed(0)
logging.disable_progress_bar()
shape = Qwen3Config(
    vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=2048,
    tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    pad_token_id=tokenizer.pad_token_id,
)  # fmt: skip
AutoModelForCausalLM.from_config(shape).save_pretrained(FOLDER)
tokenizer.save_pretrained(FOLDER)
