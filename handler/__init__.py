"""What runs inside the model archive: from one HTTP request to one mask."""
