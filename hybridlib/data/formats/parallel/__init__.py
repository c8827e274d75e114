"""One's own pairs of questions and passages, in files or tables, to train on."""
