"""Flow control: batches, budgets, sequence by key, pauses. Knows nothing of objects but their names."""
