"""The ground the notebooks stand on: runs, questions, statistics, figures, and the command line."""
