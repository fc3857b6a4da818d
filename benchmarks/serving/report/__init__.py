"""Reports of the results: Markdown tables, bar charts, and a comparison with the targets."""
