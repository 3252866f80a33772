"""LLMs behind an OpenAI-compatible API; the only package that loads openai and tenacity."""
