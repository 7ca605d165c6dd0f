"""A site's file: every camera of one run with its own settings, in place of a long command line."""
