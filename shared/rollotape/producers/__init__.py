"""Where bars come from: files and the simulator."""
