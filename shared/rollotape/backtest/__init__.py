"""Rules over stored histories: what their patterns would have earned, and whether chance earns as much."""
