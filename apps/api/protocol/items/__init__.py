"""One file per kind of item: its model, its events, its builder."""
