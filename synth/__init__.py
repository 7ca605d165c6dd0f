"""The synthetic scene: a road, its vehicles and its cameras, drawn with nothing but numpy and OpenCV."""
