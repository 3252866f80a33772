"""Small models that run in this process: likelihood, completion and chat with transformers, sentence embeddings."""
