"""Training as plain functions over an iterable of batches: recipes, schedules, the loop and its state."""
