"""What every room uses: errors, settings, time codes, the console, this process. Imports nothing but itself."""
