"""In front of any OpenAI-compatible server: who gets which release, filtered and measured."""
