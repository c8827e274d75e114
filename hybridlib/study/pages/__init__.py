"""Results of a profile as pages, for those who read no notebooks: Markdown for the repository, HTML for a colleague."""
