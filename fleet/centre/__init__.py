"""The centre of a fleet: the messages of many boxes become one identity for each region (docs/fleet.md)."""
