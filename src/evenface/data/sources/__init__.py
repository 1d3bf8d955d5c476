"""One file per data set: its official layout on disk becomes a manifest."""
