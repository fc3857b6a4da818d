"""Import weights: one module per source, each returning `ImportedWeights`."""
