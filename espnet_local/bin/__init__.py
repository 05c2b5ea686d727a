"""Command-line programs: argument parsing only."""
