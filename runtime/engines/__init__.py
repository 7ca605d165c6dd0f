"""Engines that run a lowered network, one a file."""
