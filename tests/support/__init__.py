"""What several test modules use and no fixture has to build."""
