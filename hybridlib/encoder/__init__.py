"""Encoders at work: texts to tokens, and tokens to embeddings."""
