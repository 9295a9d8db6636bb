"""What users have, as checked rows: arrays, data frames, sparse matrices, weights of rows, and feeds of batches."""
