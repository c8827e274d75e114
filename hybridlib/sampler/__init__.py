"""The batch sampler: batches that are monolingual with probability alpha and cross-lingual otherwise."""
