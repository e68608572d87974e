"""Pictures of a tape with what was read in it: what is shown, where it goes, and the drawing of it."""
