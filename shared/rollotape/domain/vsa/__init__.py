"""Volume spread analysis: rule sets as data, decided for whole arrays or one bar at a time."""
