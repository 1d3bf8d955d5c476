"""The local page: runs to browse and compare, pictures, videos and a camera to try them on; and its interface."""
