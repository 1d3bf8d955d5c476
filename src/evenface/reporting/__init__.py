"""Everything that is shown: HTML pages, tables, figures, model card, console summaries."""
