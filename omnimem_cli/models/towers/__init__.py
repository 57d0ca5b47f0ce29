"""Vision and audio encoders of all families, and what goes into them: patches and log-mel frames."""
