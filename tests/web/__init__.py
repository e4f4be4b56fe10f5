"""The manager, over HTTP and in a real Chromium."""
