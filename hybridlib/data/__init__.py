"""Training corpora and evaluation tasks, and where they come from."""
