"""Sources of frames, one a file."""
