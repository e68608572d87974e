"""What users are told at addresses of their own: which facts, signed how, and sent where it is safe."""
