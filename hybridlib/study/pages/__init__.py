"""The results of a profile as pages, for who reads no notebooks: Markdown for the repository, HTML for a colleague."""
