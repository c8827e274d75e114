"""The explorer: what batches look like, what encoders answer in any language, and where translations lie."""
