"""The results as Markdown, as bars, and against the targets."""
