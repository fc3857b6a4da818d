"""Import weights from other projects: one module per source, each returning `ImportedWeights`."""
