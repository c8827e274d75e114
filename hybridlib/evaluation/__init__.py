"""An encoder and a task become a table of results."""
