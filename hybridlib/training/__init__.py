"""Fine-tuning: what to start from, hard negatives, and the trainer."""
