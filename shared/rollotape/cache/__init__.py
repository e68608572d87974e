"""Keys, generations and read models."""
