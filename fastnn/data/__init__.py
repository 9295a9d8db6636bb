"""What users give as data becomes checked rows: arrays, data frames, sparse matrices, weights of rows, batches."""
