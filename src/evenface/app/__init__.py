"""Local web page and HTTP API: browse and compare runs, predict on images, videos and a camera."""
