"""Read weights that other programs left in files, without running anything those files ask for."""
