"""One file per resource: nothing but translation between HTTP and the engine or the store."""
