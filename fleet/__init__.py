"""Many boxes and their centre (docs/fleet.md): today what a box sends."""
