"""The evaluation of an encoder on a task, which gives a table of results."""
