"""One module per tool: what is done with datasets and checkpoints that exist."""
