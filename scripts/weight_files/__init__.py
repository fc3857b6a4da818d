"""Read weights files of other programs, without running any code that they contain."""
